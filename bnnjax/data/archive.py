"""Reads the binary archives of CIFAR-10 and CIFAR-100: files of records, each of labels and 3072 pixel bytes.

Pixels are stored plane by plane (red, green, blue), each plane row by row. The archive is never
extracted to disk: its members are read into memory, and only those whose name and size fit.
"""

import gzip
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from bnnjax.data.dataset import DataError, Split

TRAIN_FILES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST_FILE = "test_batch.bin"
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PIXEL_BYTES = 3 * 32 * 32


class Layout(NamedTuple):
    """What an archive holds."""

    name: str  # of the data set
    classes: int
    label_bytes: int  # at the head of a record; the last one is the label
    train: dict[str, int]  # records by file, in order
    test: dict[str, int]


def cifar10_layout(batch_examples: int = 10_000) -> Layout:
    """CIFAR-10's layout, with so many images in each of its six files."""
    train = dict.fromkeys(TRAIN_FILES, batch_examples)
    return Layout("CIFAR-10", 10, 1, train, {TEST_FILE: batch_examples})


def cifar100_layout(train: int = 50_000, test: int = 10_000) -> Layout:
    """CIFAR-100's layout; before the label of each image is that of its superclass."""
    return Layout("CIFAR-100", 100, 2, {"train.bin": train}, {"test.bin": test})


def read_archive(path: Path, layout: Layout) -> dict[str, Split]:
    """The train and test splits of an archive, in the order of its files.

    A repacked archive is as good as the official one: all files must be there, once each, of exactly the
    right size, with labels of the classes, and the checksum of the compressed stream must match.

    Args:
      path: a .tar.gz file.
      layout: what it should hold.

    Raises:
      DataError: the file is missing, damaged, or not such an archive.
    """
    if not path.is_file():
        raise DataError(f"the archive {path} does not exist.")
    record = layout.label_bytes + PIXEL_BYTES
    sizes = {name: count * record for name, count in (layout.train | layout.test).items()}
    try:
        members = read_members(path, sizes)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DataError(f"the archive {path} is damaged or not a .tar.gz file: {error}") from error
    if missing := [name for name in sizes if name not in members]:
        raise DataError(
            f"the archive {path} lacks {missing[0]}: it is not the binary version of {layout.name}."
        )

    def split(names: Iterable[str]) -> Split:
        parts = [records(path, name, members[name], layout) for name in names]
        return Split(*map(np.concatenate, zip(*parts, strict=True)))

    return {"train": split(layout.train), "test": split(layout.test)}


def read_members(path: Path, sizes: Mapping[str, int]) -> dict[str, bytes]:
    """The bytes of the files by name, in whichever folder of the archive they are; sizes are in bytes."""
    members: dict[str, bytes] = {}
    with gzip.open(path) as stream:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                if name not in sizes:
                    continue
                if name in members:
                    raise DataError(f"the archive {path} holds {name} twice.")
                # Checked before reading, so that a hostile archive cannot fill the memory.
                is_whole = member.isfile() and member.size == sizes[name]
                file = tar.extractfile(member) if is_whole else None
                if file is None:
                    raise DataError(
                        f"{name} in the archive {path} has {member.size} bytes, not {sizes[name]}."
                    )
                members[name] = file.read()
        while stream.read(1 << 20):  # gzip verifies its checksum at the very end only
            pass
    return members


def records(path: Path, name: str, data: bytes, layout: Layout) -> Split:
    """Splits the records of one file into images, uint8 [n, 32, 32, 3], and labels."""
    rows = np.frombuffer(data, dtype=np.uint8).reshape(-1, layout.label_bytes + PIXEL_BYTES)
    labels = rows[:, layout.label_bytes - 1].astype(np.int32)
    if labels.max() >= layout.classes:
        allowed = f"allowed is 0 to {layout.classes - 1}"
        raise DataError(f"{name} in the archive {path} has the label {labels.max()}: {allowed}.")
    planes = rows[:, layout.label_bytes :].reshape(-1, 3, 32, 32)
    return Split(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels)
