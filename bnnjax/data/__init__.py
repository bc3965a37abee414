"""Data sets, decoded once and kept in memory, and what makes batches of them on the device.

Loading needs TFDS, never TensorFlow. TFDS, scikit-learn and Pillow are imported on use only.
"""

from bnnjax.data.augment import Augmentation, augment, normalize
from bnnjax.data.batches import (
    EpochKeys,
    device_share,
    device_slice,
    epoch_keys,
    evaluation_batches,
    step_key,
    steps_per_epoch,
    training_batches,
)
from bnnjax.data.by_name import load_prepared
from bnnjax.data.cifar10 import load_cifar10
from bnnjax.data.dataset import DataError, Dataset, Split
from bnnjax.data.digits import load_digits

__all__ = [
    "Augmentation",
    "DataError",
    "Dataset",
    "EpochKeys",
    "Split",
    "augment",
    "device_share",
    "device_slice",
    "epoch_keys",
    "evaluation_batches",
    "load_cifar10",
    "load_digits",
    "load_prepared",
    "normalize",
    "step_key",
    "steps_per_epoch",
    "training_batches",
]
