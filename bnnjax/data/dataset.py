"""The data set that every loader returns, and the fixed rules that make three splits of two stored ones."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bnnjax.data.augment import Augmentation


class DataError(ValueError):
    """Data that cannot be used; the message is one sentence for the user."""


def is_hidden(path: Path) -> bool:
    """Whether a file is none of the data: macOS puts ._NAME beside NAME where it cannot keep attributes."""
    return path.name.startswith(".")


class Split(NamedTuple):
    """Images and labels of one split, in stored order."""

    images: np.ndarray  # uint8 [n, h, w, c]
    labels: np.ndarray  # int32 [n]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A decoded data set with its held-out validation split.

    `mean` and `std` have one entry per channel, in units where 255 is 1, and are computed from `train`
    only: neither validation nor test images enter them.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    augmentation: Augmentation
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str  # the directory it was read from
    digest: str  # sha256 over images and labels of the three splits

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(h, w, c)."""
        return self.train.images.shape[1:]


def description_of(dataset: Dataset) -> dict[str, Any]:
    """Returns what the record of a run tells of its data, for JSON: all that its network needs."""
    fields = ("source", "digest", "name", "class_names", "mean", "std", "image_shape")
    return {name: getattr(dataset, name) for name in fields}


def without_images(description: Mapping[str, Any]) -> Dataset:
    """Returns the data set that `description_of` told of, with empty splits.

    Raises:
      KeyError: something is missing, as in records of earlier versions.
    """
    images = np.empty((0, *description["image_shape"]), np.uint8)
    nothing = Split(images, np.empty(0, np.int32))
    return Dataset(
        name=description["name"],
        class_names=tuple(description["class_names"]),
        mean=tuple(description["mean"]),
        std=tuple(description["std"]),
        source=description["source"],
        digest=description["digest"],
        train=nothing,
        validation=nothing,
        test=nothing,
        augmentation=Augmentation(),
    )


def spread_over_classes(labels: np.ndarray, examples: int) -> np.ndarray:
    """Marks `examples` of the labels, the same share of every class, evenly spaced in stored order.

    Nothing is random, so the choice is the same for every seed and every version of NumPy, and it is
    balanced whether the stored order is random or sorted by class.

    Args:
      labels: int [n].
      examples: how many to mark, 1 to n - 1.

    Returns:
      bool [n], with exactly `examples` entries true.

    Raises:
      DataError: `examples` is out of range.
    """
    if not 1 <= examples < len(labels):
        most = len(labels) - 1
        raise DataError(f"cannot hold out {examples} of {len(labels)} images: allowed is 1 to {most}.")
    classes, sizes = np.unique(labels, return_counts=True)
    # Largest remainders: every class gets its share rounded down, those with the largest remainders one more.
    quotas, remainders = np.divmod(sizes * examples, len(labels))
    quotas[np.argsort(-remainders, kind="stable")[: examples - quotas.sum()]] += 1
    marked = np.zeros(len(labels), dtype=bool)
    for label, size, quota in zip(classes, sizes, quotas, strict=True):
        places = (2 * np.arange(quota) + 1) * size // (2 * max(quota, 1))
        marked[np.flatnonzero(labels == label)[places]] = True
    return marked


def channel_moments(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel in units where 255 is 1: sqrt(E[x^2] - E[x]^2).

    They come from integer histograms, so they do not depend on the order of summation.

    Args:
      images: uint8 [n, h, w, c].

    Raises:
      DataError: the images are of another form, or a channel has the same value everywhere and cannot be
        normalized.
    """
    if images.dtype != np.uint8 or images.ndim != 4:
        raise DataError(f"images must be uint8 [n, h, w, c], not {images.dtype} {list(images.shape)}.")
    values = np.arange(256) / 255
    means, deviations = [], []
    for channel in range(images.shape[-1]):
        # In blocks: bincount works on a copy eight times the size of its input.
        blocks = (images[start : start + 1000, ..., channel] for start in range(0, len(images), 1000))
        histogram = sum(np.bincount(block.ravel(), minlength=256) for block in blocks)
        share = histogram / np.sum(histogram)
        mean = float(share @ values)
        deviation = float(np.sqrt(share @ (values - mean) ** 2))
        if deviation == 0:
            raise DataError(f"channel {channel} of the training images is {mean:.3f} everywhere.")
        means.append(mean)
        deviations.append(deviation)
    return tuple(means), tuple(deviations)


def digest_of(*splits: Split) -> str:
    """The sha256, in hexadecimal, of shapes, images and labels of `splits`, in this order."""
    sha = hashlib.sha256()
    for images, labels in splits:
        sha.update(repr(images.shape).encode())
        sha.update(np.ascontiguousarray(images).data)
        sha.update(np.ascontiguousarray(labels, dtype="<i4").data)
    return sha.hexdigest()


def take(split: Split, which: np.ndarray | slice) -> Split:
    """The images and labels of `split` that `which` selects."""
    return Split(split.images[which], split.labels[which])


def assemble(
    *,
    name: str,
    class_names: tuple[str, ...],
    train: Split,
    test: Split,
    validation_examples: int | Split,
    train_examples: int | None,
    augmentation: Augmentation,
    source: str,
) -> Dataset:
    """Returns the data set: splits validation images off `train`, keeps the first `train_examples` others.

    Nothing is split off where the validation images themselves are given in place of their number.

    Raises:
      DataError: `validation_examples` or `train_examples` is out of range.
    """
    if isinstance(validation_examples, Split):
        validation, rest = validation_examples, train
    else:
        held_out = spread_over_classes(train.labels, validation_examples)
        validation, rest = take(train, held_out), take(train, ~held_out)
    available = len(rest.labels)
    if train_examples is not None:
        if not 1 <= train_examples <= available:
            raise DataError(
                f"cannot train on {train_examples} images of {name}: allowed is 1 to {available}."
            )
        rest = take(rest, slice(train_examples))
    mean, std = channel_moments(rest.images)
    return Dataset(
        name=name,
        class_names=class_names,
        train=rest,
        validation=validation,
        test=test,
        augmentation=augmentation,
        mean=mean,
        std=std,
        source=source,
        digest=digest_of(rest, validation, test),
    )
