"""Loads any prepared TFDS set of small images by its name."""

from pathlib import Path

from bnnjax.data.augment import Augmentation
from bnnjax.data.cache import read_cached
from bnnjax.data.dataset import Dataset, assemble
from bnnjax.data.tfds import data_root, only_version


def load_prepared(
    name: str,
    data_dir: Path | None = None,
    *,
    validation_examples: int | None = None,
    train_examples: int | None = None,
    augmentation: Augmentation | None = None,
) -> Dataset:
    """Loads any prepared TFDS set of small images of one shape that has a train and a test split.

    Args:
      name: the directory below the data directory: `mnist`, `mnist/3.0.1`, `emnist/digits/3.1.0`.
        Without a version there must be exactly one.
      data_dir: see `data_root`.
      validation_examples: how many training images are held out, see `spread_over_classes`; by default none
        where the set has a validation split, which is then used, else a tenth.
      train_examples: use only so many of the remaining training images, the first ones.
      augmentation: none by default, since which changes keep the label differs between data sets.

    Raises:
      DataError: it is not there, ambiguous, damaged, or of another kind.
    """
    directory = only_version(data_root(data_dir) / name)
    stored = read_cached(directory)
    tenth = max(len(stored.train.labels) // 10, 1)
    return assemble(
        name=stored.name,
        class_names=stored.class_names,
        train=stored.train,
        test=stored.test,
        validation_examples=validation_examples or stored.validation or tenth,
        train_examples=train_examples,
        augmentation=augmentation or Augmentation(),
        source=str(directory),
    )
