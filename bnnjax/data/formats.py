"""The file formats that small data sets are published in: IDX of MNIST, MATLAB of SVHN."""

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bnnjax.data.dataset import DataError, Split
from bnnjax.data.tfds import one_line

BYTES = 8  # the type of IDX files of bytes


def read_idx_file(path: Path) -> np.ndarray:
    """Returns the array of a gzipped IDX file of bytes.

    Its head is two zeros, a type, the number of dimensions, and these as 32-bit numbers, the highest byte
    first (http://yann.lecun.com/exdb/mnist).

    Raises:
      DataError: it is something else, or damaged.
    """
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged or not gzipped: {one_line(error)}") from error
    head = 4 + 4 * data[3] if len(data) > 3 else 4
    if data[:3] == bytes((0, 0, BYTES)) and len(data) >= head:
        shape = np.frombuffer(data[4:head], ">u4").tolist()
        if len(data) == head + math.prod(shape):
            return np.frombuffer(data, np.uint8, offset=head).reshape(shape)
    raise DataError(f"{path} is not an IDX file of bytes.")


def read_idx(paths: Sequence[Path]) -> dict[str, Split]:
    """Returns the splits of images and labels for training, and of images and labels for the test."""
    arrays = [read_idx_file(path) for path in paths]
    splits = [
        Split(images[..., None], labels.astype(np.int32))
        for images, labels in zip(arrays[::2], arrays[1::2], strict=True)
    ]
    return dict(zip(("train", "test"), splits, strict=True))


def read_svhn(path: Path) -> Split:
    """Returns the split in a MATLAB file of SVHN, where 10 is the label of the digit 0.

    Raises:
      DataError: it is something else, or damaged.
    """
    from scipy.io import loadmat

    try:
        arrays = loadmat(path)
        images, labels = np.moveaxis(arrays["X"], -1, 0), arrays["y"].reshape(-1)
    except Exception as error:  # any type: SciPy fails wherever it first trips over the damage
        raise DataError(f"{path} is not a file of SVHN: {one_line(error)}") from error
    return Split(np.ascontiguousarray(images, np.uint8), (labels % 10).astype(np.int32))
