"""Corrupted test images: the official sets where the user has them, generated ones otherwise."""

from pathlib import Path

from bnnjax.data.corrupted.arrays import CorruptedSet, Noisy, generated, npy_files
from bnnjax.data.corrupted.files import (
    folder_corrupted,
    image_folders,
    prepared_corrupted,
    prepared_directories,
)
from bnnjax.data.dataset import DataError, Dataset, is_hidden

__all__ = [
    "CorruptedSet",
    "Noisy",
    "folder_corrupted",
    "generated",
    "npy_files",
    "open_corrupted",
    "prepared_corrupted",
]


def open_corrupted(
    where: Path | None,
    dataset: Dataset,
    *,
    seed: int = 0,
    examples: int | None = None,
    batch_size: int = 1000,
) -> CorruptedSet:
    """Returns the corrupted test images in a directory, whichever of the known forms they have.

    Args:
      where: a directory of .npy files (`npy_files`), of a prepared TFDS set or the data directory above it
        (`prepared_corrupted`), or of folders of images (`folder_corrupted`); none generates them.
      dataset: what the set must fit: number of classes and image shape, class names where there are any.
      seed: of generated noise.
      examples: how many images; all by default.
      batch_size: of all batches but the last.

    Raises:
      DataError: the directory holds none of these, is damaged, or does not fit the data set.
      ValueError: `examples` or `batch_size` is out of range.
    """
    if where is None:
        return generated(dataset.test, seed, name=dataset.name, examples=examples, batch_size=batch_size)
    where = Path(where).expanduser()
    if not where.is_dir():
        raise DataError(f"the directory of corrupted images {where} does not exist.")
    if not all(map(is_hidden, where.glob("*.npy"))):
        return npy_files(where, dataset, examples=examples, batch_size=batch_size)
    for candidate in (where, where / f"{dataset.name}_corrupted"):
        if prepared_directories(candidate):
            return prepared_corrupted(candidate, dataset, examples=examples, batch_size=batch_size)
    if image_folders(where):
        return folder_corrupted(where, dataset, examples=examples, batch_size=batch_size)
    raise DataError(
        f"{where} holds no corrupted images: expected are NAME.npy files with labels.npy, a prepared TFDS "
        "set NAME_SEVERITY/VERSION, or folders NAME/SEVERITY/CLASS of images."
    )
