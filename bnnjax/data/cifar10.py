"""CIFAR-10: from a prepared directory, from a local archive, or downloaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bnnjax.data.archive import CLASS_NAMES, cifar10_layout, read_archive
from bnnjax.data.augment import Augmentation
from bnnjax.data.cache import read_cached
from bnnjax.data.dataset import DataError, Dataset, Split, assemble
from bnnjax.data.download import why_unreachable
from bnnjax.data.tfds import Description, data_root

# TFDS's own name and version, so that each reads what the other prepared.
DESCRIPTION = Description("cifar10", "3.0.2", CLASS_NAMES, "CIFAR-10, in the order of the original files")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where CIFAR-10 is downloaded from, and how large it is. The defaults are the official archive."""

    url: str = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    size: int = 170_052_171  # bytes
    sha256: str = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
    batch_examples: int = 10_000  # images in each of its six files
    patience: float = 10.0  # seconds until it counts as unreachable


def load_cifar10(
    data_dir: Path | None = None,
    *,
    archive: Path | None = None,
    validation_examples: int = 5000,
    train_examples: int | None = None,
    origin: Origin | None = None,
) -> Dataset:
    """Loads CIFAR-10; where it is not prepared, prepares it from `archive` or from a download.

    The validation split is fixed (see `spread_over_classes`): 500 images of each class, evenly
    spaced over the stored order, whatever the run's seed. The stored order is that of the original
    files in copies that we prepare, and TFDS's shuffle in copies that TFDS prepared. Copies of one
    data set can thus have different validation splits; the digest tells them apart. Mean and
    standard deviation are computed from the training images in use, not hard-coded, because prepared
    copies differ (recompressed ones exist) and no validation image should enter them.

    Args:
      data_dir: see `data_root`; a download is stored there too.
      archive: cifar-10-binary.tar.gz. Where the set is prepared already, it must hold these images.
      validation_examples: how many of the training images are held out.
      train_examples: use only so many of the remaining training images, the first ones.
      origin: of the download, the official one by default.

    Raises:
      DataError: it is neither prepared nor reachable, or damaged, or `archive` is.
    """
    root, origin = data_root(data_dir), origin or Origin()
    directory = root / DESCRIPTION.name / DESCRIPTION.version
    layout = cifar10_layout(origin.batch_examples)
    given = None if archive is None else read_archive(Path(archive).expanduser(), layout)
    if not directory.exists():
        create(root, directory, given, origin)
    stored = read_cached(directory)
    splits = {"train": stored.train, "test": stored.test}
    check(directory, stored.class_names, splits, origin)
    if given is not None and any(not same(given[name], splits[name]) for name in given):
        raise DataError(
            f"{directory} was prepared before and does not hold the images of {archive} in their order: "
            "leave --archive out to use it, or choose another --data-dir."
        )
    return assemble(
        name="cifar10",
        class_names=CLASS_NAMES,
        train=stored.train,
        test=stored.test,
        validation_examples=validation_examples,
        train_examples=train_examples,
        augmentation=Augmentation(crop_padding=4, flip=True),
        source=str(directory),
    )


def create(root: Path, directory: Path, given: dict[str, Split] | None, origin: Origin) -> None:
    """Prepares CIFAR-10 in `directory` from `given`, or else from a download.

    Raises:
      DataError: the download is needed and cannot be reached, or preparing fails.
    """
    if given is None and (reason := why_unreachable(origin.url, origin.patience)):
        raise DataError(
            f"CIFAR-10 is not prepared in {directory} and {origin.url} cannot be reached ({reason}): "
            "use --data-dir with a prepared copy, --archive with cifar-10-binary.tar.gz, "
            "or bnnjax train digits, which needs no download."
        )
    from bnnjax.data.tfds_write import ImageSetBuilder, prepare

    def fetch(downloads: Any) -> dict[str, Split]:
        layout = cifar10_layout(origin.batch_examples)
        return given or read_archive(Path(downloads.download(origin.url)), layout)

    prepare(ImageSetBuilder(DESCRIPTION, fetch, root, {origin.url: (origin.size, origin.sha256)}))


def check(directory: Path, names: tuple[str, ...], splits: dict[str, Split], origin: Origin) -> None:
    """Refuses a directory that has CIFAR-10's name but holds something else.

    Raises:
      DataError: class names, image shape or number of images differ.
    """
    if names != CLASS_NAMES:
        raise DataError(f"{directory} is not CIFAR-10: its classes are {', '.join(names)}.")
    for name, batches in (("train", 5), ("test", 1)):
        expected = (batches * origin.batch_examples, 32, 32, 3)
        found = splits[name].images.shape
        if found != expected:
            raise DataError(f"{directory} is not CIFAR-10: {name} has the shape {found}, not {expected}.")


def same(left: Split, right: Split) -> bool:
    """Whether two splits hold the same images and labels in the same order."""
    return np.array_equal(left.labels, right.labels) and np.array_equal(left.images, right.images)
