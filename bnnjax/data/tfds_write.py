"""Writes decoded images as a prepared TFDS data set: array_record files, no TensorFlow.

TFDS's Image feature needs TensorFlow to encode an array, but stores the contents of a file object
unchanged, so images are passed as PNGs. This module imports TFDS: import it inside functions.
"""

import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from bnnjax.data.dataset import DataError, Split
from bnnjax.data.tfds import Description, one_line

Fetch = Callable[[Any], Mapping[str, Split]]  # TFDS's download manager -> the splits by name


# Not registered: TFDS has its own cifar10 and refuses a second one. mypy does not know that option.
class ImageSetBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Writes a data set whose splits come from `fetch`; records keep their order.

    Args:
      described: the data set.
      fetch: called with TFDS's download manager.
      data_dir: the directory of all data sets.
      checksums: size in bytes and sha256 of each URL that `fetch` downloads.
    """

    def __init__(
        self,
        described: Description,
        fetch: Fetch,
        data_dir: Path,
        checksums: Mapping[str, tuple[int, str]] = MappingProxyType({}),
    ) -> None:
        self.name, self.VERSION = described.name, tfds.core.Version(described.version)
        self.described, self.fetch, self.checksums = described, fetch, checksums
        super().__init__(data_dir=data_dir, file_format="array_record")

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
            "image": tfds.features.Image(shape=self.described.shape),
            "label": tfds.features.ClassLabel(names=self.described.class_names),
        }
        if self.described.coarse_labels:
            features["coarse_label"] = tfds.features.ClassLabel(
                num_classes=max(self.described.coarse_labels) + 1
            )
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.described.text,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        splits = self.fetch(dl_manager)
        return {name: self._generate_examples(name, split) for name, split in splits.items()}

    def _generate_examples(self, name: str, split: Split) -> Iterator[tuple[int, dict[str, Any]]]:
        for i, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            coarse = (
                {"coarse_label": self.described.coarse_labels[label]} if self.described.coarse_labels else {}
            )
            yield i, {"id": f"{name}_{i:05d}", "image": as_png(image), "label": int(label), **coarse}


def as_png(image: np.ndarray) -> io.BytesIO:
    """A file object with the PNG of a uint8 [h, w, c] image."""
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG")
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
