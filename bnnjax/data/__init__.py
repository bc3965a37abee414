"""Data sets, in memory or streamed, with augmentation, batches and corruptions.

Loading needs TFDS, never TensorFlow. TFDS, scikit-learn, Pillow, OpenCV and Grain are imported on use only.
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
from bnnjax.data.cifar10 import load_cifar10
from bnnjax.data.dataset import DataError, Dataset, Split
from bnnjax.data.digits import load_digits
from bnnjax.data.imagenet.load import StreamedDataset, load_imagenet
from bnnjax.data.tfds_set import load_prepared

__all__ = [
    "Augmentation",
    "DataError",
    "Dataset",
    "EpochKeys",
    "Split",
    "StreamedDataset",
    "augment",
    "device_share",
    "device_slice",
    "epoch_keys",
    "evaluation_batches",
    "load_cifar10",
    "load_digits",
    "load_imagenet",
    "load_prepared",
    "normalize",
    "step_key",
    "steps_per_epoch",
    "training_batches",
]
