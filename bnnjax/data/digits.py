"""scikit-learn's handwritten digits, which need no download."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bnnjax.data.augment import Augmentation
from bnnjax.data.cache import read_cached
from bnnjax.data.dataset import DataError, Dataset, Split, assemble, spread_over_classes, take
from bnnjax.data.tfds import Description, data_root

EXAMPLES = 1797
TEST_EXAMPLES = 360  # a fifth
DESCRIPTION = Description(
    "bnnjax_digits",
    "1.0.0",
    tuple("0123456789"),
    "The 1,797 handwritten 8x8 digits of scikit-learn, as 32x32 RGB",
)


def load_digits(
    data_dir: Path | None = None, *, validation_examples: int = 150, train_examples: int | None = None
) -> Dataset:
    """Loads the digits as 32x32x3 images; the first use writes them into the data directory.

    1,437 images are for training and validation, 360 for the test. Both splits are fixed (see
    `spread_over_classes`) and independent of the run's seed.

    Args:
      data_dir: see `data_root`.
      validation_examples: how many of the 1,437 are held out.
      train_examples: use only so many of the remaining training images, the first ones.

    Raises:
      DataError: the directory cannot be written, what it holds is damaged, or a number of images is out of
        range.
    """
    root = data_root(data_dir)
    directory = root / DESCRIPTION.name / DESCRIPTION.version
    if not directory.exists():
        from bnnjax.data.tfds_write import ImageSetBuilder, prepare

        prepare(ImageSetBuilder(DESCRIPTION, embedded_digits, root))
    stored = read_cached(directory)
    sizes = len(stored.train.labels), len(stored.test.labels)
    if sizes != (EXAMPLES - TEST_EXAMPLES, TEST_EXAMPLES):
        raise DataError(
            f"{directory} has {sizes[0]} training and {sizes[1]} test images: delete it and retry."
        )
    return assemble(
        name="digits",
        class_names=stored.class_names,
        train=stored.train,
        test=stored.test,
        validation_examples=validation_examples,
        train_examples=train_examples,
        # No flip: most digits change when mirrored. Two pixels are half a pixel of the original.
        augmentation=Augmentation(crop_padding=2),
        source=str(directory),
    )


def embedded_digits(_: Any) -> Mapping[str, Split]:
    """The train and test splits, made from the digits inside scikit-learn."""
    from sklearn.datasets import load_digits as load_embedded

    small, labels = load_embedded(return_X_y=True)  # float64 [1797, 64], values 0 to 16
    images = np.stack([enlarge(image) for image in small.reshape(-1, 8, 8)])
    everything = Split(images, labels.astype(np.int32))
    test = spread_over_classes(everything.labels, TEST_EXAMPLES)
    return {"train": take(everything, ~test), "test": take(everything, test)}


def enlarge(small: np.ndarray) -> np.ndarray:
    """Scales one digit, [8, 8] with values 0 to 16, to uint8 [32, 32, 3] (bicubic, three equal channels)."""
    from PIL import Image

    gray = Image.fromarray(np.rint(small * (255 / 16)).astype(np.uint8))
    return np.asarray(gray.resize((32, 32), Image.Resampling.BICUBIC).convert("RGB"))
