"""Writes decoded images as a prepared TFDS data set: array_record files, no TensorFlow.

TFDS's Image feature needs TensorFlow to encode an array, but stores the contents of a file object
unchanged, so images are passed as PNGs. This module imports TFDS: import it inside functions.
"""

import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from bnnjax.data import archive
from bnnjax.data.dataset import DataError, Split
from bnnjax.data.tfds import one_line

Fetch = Callable[[Any], Mapping[str, Split]]  # TFDS's download manager -> the splits by name


# Not registered: TFDS has its own cifar10 and refuses a second one. mypy does not know that option.
class ImageSetBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Base of our builders: the splits come from `fetch`, and records keep their order.

    Args:
      fetch: called with TFDS's download manager.
      checksums: size in bytes and sha256 of each URL that `fetch` downloads.
      data_dir: the directory of all data sets.
    """

    SHAPE: ClassVar[tuple[int, int, int]] = (32, 32, 3)
    CLASS_NAMES: ClassVar[tuple[str, ...]]
    DESCRIPTION: ClassVar[str]

    def __init__(self, *, fetch: Fetch, checksums: Mapping[str, tuple[int, str]], data_dir: Path) -> None:
        super().__init__(data_dir=data_dir, file_format="array_record")
        self.fetch = fetch
        self.checksums = checksums

    @property
    def url_infos(self) -> dict[str, Any]:
        """Where TFDS's download manager looks up the checksum of a download."""
        record = tfds.download.checksums.UrlInfo
        return {
            url: record(size=tfds.core.utils.Size(size), checksum=sha256, filename=None)
            for url, (size, sha256) in self.checksums.items()
        }

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=self.SHAPE),
            "label": tfds.features.ClassLabel(names=self.CLASS_NAMES),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        splits = self.fetch(dl_manager)
        return {name: self._generate_examples(name, split) for name, split in splits.items()}

    def _generate_examples(self, name: str, split: Split) -> Iterator[tuple[int, dict[str, Any]]]:
        for i, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            yield i, {"id": f"{name}_{i:05d}", "image": as_png(image), "label": int(label)}


class Cifar10(ImageSetBuilder, skip_registration=True):  # type: ignore[call-arg]
    """CIFAR-10 under TFDS's own name and version, so that each reads what the other prepared."""

    name = "cifar10"
    VERSION = tfds.core.Version("3.0.2")
    CLASS_NAMES = archive.CLASS_NAMES
    DESCRIPTION = "CIFAR-10, in the order of the original files"


class Digits(ImageSetBuilder, skip_registration=True):  # type: ignore[call-arg]
    """The handwritten digits that ship inside scikit-learn, scaled up."""

    name = "bnnjax_digits"
    VERSION = tfds.core.Version("1.0.0")
    CLASS_NAMES = tuple("0123456789")
    DESCRIPTION = "The 1,797 handwritten 8x8 digits of scikit-learn, as 32x32 RGB"


def as_png(image: np.ndarray) -> io.BytesIO:
    """A file object with the PNG of a uint8 [h, w, c] image."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    file.seek(0)
    return file


def prepare(builder: ImageSetBuilder) -> None:
    """Writes the data set, unless it is there.

    TFDS writes into a temporary directory and renames it at the end, so there is never a
    half-written data set. If another process was first, its data set stays.

    Raises:
      DataError: the download is damaged or breaks off, or the directory cannot be written.
    """
    directory = Path(builder.data_dir)
    tfds.display_progress_bar(sys.stderr.isatty())
    config = tfds.download.DownloadConfig(
        try_download_gcs=False, force_checksums_validation=bool(builder.checksums)
    )
    try:
        # TFDS prints where it writes to stdout, which belongs to the program.
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(download_config=config)
    except DataError:
        raise
    except Exception as error:  # any type: network, checksum, disk
        # The rename fails when another process has prepared the same set in the meantime.
        if not (directory / "dataset_info.json").is_file():
            raise DataError(f"cannot prepare {builder.name} in {directory}: {one_line(error)}") from error
