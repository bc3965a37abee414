"""Sets of corrupted test images: their common record, and those that are arrays: generated or .npy files."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from bnnjax.data import corruptions
from bnnjax.data.batches import evaluation_batches
from bnnjax.data.corruptions import CORRUPTIONS, SEVERITIES
from bnnjax.data.dataset import DataError, Dataset, Split, is_hidden


def _nothing(corruption: str, severities: tuple[int, ...]) -> None:
    """Compiles nothing, for images that are arrays already."""


class Noisy(NamedTuple):
    """The same images at some severities."""

    images: np.ndarray | jax.Array  # uint8 [severities, b, h, w, c]
    labels: np.ndarray  # int32 [b]


@dataclass(frozen=True, kw_only=True)
class CorruptedSet:
    """Test images under every corruption and severity, image i always from the same test image.

    `batches(corruption, severities)` goes through all `examples` once; only the last batch may be smaller.
    It raises ValueError for a corruption or severity that the set does not have, and DataError where a file
    cannot be read.
    """

    source: str  # in words, for reports
    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    examples: int
    is_aligned: bool  # image i is the data set's test image i, so that predictions can be compared
    batches: Callable[[str, tuple[int, ...]], Iterator[Noisy]]
    # Compiles what `batches` will call for the same corruption and severities; several threads may at once.
    compile: Callable[[str, tuple[int, ...]], None] = _nothing


def checked_set(
    source: str,
    corruptions: Iterable[str],
    severities: Sequence[int],
    examples: int,
    is_aligned: bool,
    batches: Callable[[str, tuple[int, ...]], Iterator[Noisy]],
    compile_for: Callable[[str, tuple[int, ...]], None] = _nothing,
) -> CorruptedSet:
    """Returns the record, with corruptions in the order of CORRUPTIONS; `batches` checks its arguments."""
    known = list(CORRUPTIONS)
    names = tuple(sorted(corruptions, key=lambda n: (known.index(n) if n in known else len(known), n)))

    def checked(corruption: str, asked: tuple[int, ...]) -> Iterator[Noisy]:
        if corruption not in names:
            raise ValueError(f"there is no {corruption!r} in {source}; there are {', '.join(names)}")
        if not asked or not {*asked} <= {*severities}:
            allowed = ", ".join(map(str, severities))
            raise ValueError(f"severities must be some of {allowed} in {source}; got {list(asked)}")
        return batches(corruption, asked)

    return CorruptedSet(
        source=source,
        corruptions=names,
        severities=tuple(severities),
        examples=examples,
        is_aligned=is_aligned,
        batches=checked,
        compile=compile_for,
    )


def number_of_images(examples: int | None, available: int, batch_size: int) -> int:
    """Returns how many images are used: all by default.

    Raises:
      ValueError: `examples` or `batch_size` is out of range.
    """
    if examples is not None and not 1 <= examples <= available:
        raise ValueError(f"cannot use {examples} of {available} images: allowed is 1 to {available}")
    if batch_size < 1:
        raise ValueError(f"batch size {batch_size}: allowed is 1 or more")
    return available if examples is None else examples


def in_test_order(labels: np.ndarray, dataset: Dataset) -> bool:
    """Returns whether the labels show that the images are in the order of the test set.

    Sorted labels show nothing, since the order within a class could be any.
    """
    return np.array_equal(labels, dataset.test.labels) and bool(np.any(np.diff(labels) < 0))


def generated(
    test: Split, seed: int, *, name: str, examples: int | None = None, batch_size: int = 1000
) -> CorruptedSet:
    """Returns a set that is generated on the device, batch by batch.

    The noise of an image depends only on the seed and its place, not on `examples` or `batch_size`.

    Args:
      test: the clean images.
      seed: of the noise.
      name: of the data set, for the source.
      examples: the first so many; all by default.
      batch_size: images corrupted at once; one program of this size serves the last batch as well.

    Raises:
      ValueError: `examples` or `batch_size` is out of range.
    """
    used = number_of_images(examples, len(test.labels), batch_size)
    size = min(batch_size, used)
    key = jax.random.key(seed)

    def batches(corruption: str, severities: tuple[int, ...]) -> Iterator[Noisy]:
        for places in evaluation_batches(used, size):
            first = int(places[0])
            labels = test.labels[first : min(first + size, used)]
            noisy = corruptions.corrupt_severities(
                key, test.images[places], corruption, severities, first=first
            )
            yield Noisy(noisy if len(labels) == size else noisy[:, : len(labels)], labels)

    def compile_for(corruption: str, severities: tuple[int, ...]) -> None:
        corruptions.compile_corruption((size, *test.images.shape[1:]), corruption, severities)

    values = corruptions.TITLES[corruptions.values_for(test.images.shape)]
    source = f"generated from {name} test images, {values}'s values, seed {seed}"
    return checked_set(source, CORRUPTIONS, SEVERITIES, used, True, batches, compile_for)


def load_array(path: Path) -> np.ndarray:
    """Maps one .npy file into memory.

    Raises:
      DataError: it is missing, damaged, or holds Python objects.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"cannot read {path}: missing or not a complete .npy file of numbers.") from error


def npy_files(
    directory: Path, dataset: Dataset, *, examples: int | None = None, batch_size: int = 1000
) -> CorruptedSet:
    """Returns a set in the form of CIFAR-10-C and CIFAR-100-C: NAME.npy for each corruption, and labels.npy.

    NAME.npy is uint8 [5 n, h, w, c], the n test images at severity 1, then at severity 2, and so on;
    labels.npy holds the n labels five times (Hendrycks and Dietterich 2019, Zenodo 2535967).

    Args:
      directory: with the files.
      dataset: what the set must fit.
      examples: the first so many; all by default.
      batch_size: of all batches but the last.

    Raises:
      DataError: a file is missing, damaged, or of another shape, or does not fit the data set.
      ValueError: `examples` or `batch_size` is out of range.
    """
    path = directory / "labels.npy"
    stored = load_array(path)
    blocks = len(SEVERITIES)
    if stored.ndim != 1 or stored.dtype.kind not in "iu" or len(stored) == 0 or len(stored) % blocks:
        raise DataError(
            f"{path} is {stored.dtype} {list(stored.shape)}: integers, {blocks} times the labels of the "
            "test images, are expected."
        )
    if np.any(stored.reshape(blocks, -1) != stored[: len(stored) // blocks]):
        raise DataError(f"{path} should hold the same labels {blocks} times, once for each severity.")
    labels = stored[: len(stored) // blocks].astype(np.int32)
    classes = len(dataset.class_names)
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"{path} has labels from {labels.min()} to {labels.max()}: {dataset.name} has {classes} classes."
        )
    others = sorted(file for file in directory.glob("*.npy") if file != path and not is_hidden(file))
    files = {file.stem: file for file in others}
    arrays = {name: load_array(file) for name, file in files.items()}
    # What is known as a corruption must be one; of others, arrays without axes of images are not meant so.
    arrays = {name: array for name, array in arrays.items() if name in CORRUPTIONS or array.ndim > 1}
    if not arrays:
        raise DataError(f"{directory} has labels.npy, but no NAME.npy with images.")
    shape = (len(stored), *dataset.test.images.shape[1:])
    for name, array in arrays.items():
        if array.dtype != np.uint8 or array.shape != shape:
            raise DataError(
                f"{files[name]} is {array.dtype} {list(array.shape)}: uint8 {list(shape)} is expected "
                f"for {dataset.name} and {path.name}."
            )
    used = number_of_images(examples, len(labels), batch_size)

    def batches(corruption: str, severities: tuple[int, ...]) -> Iterator[Noisy]:
        by_severity = arrays[corruption].reshape(blocks, len(labels), *shape[1:])
        for first in range(0, used, batch_size):
            some = slice(first, min(first + batch_size, used))
            images = np.stack([by_severity[severity - 1, some] for severity in severities])
            yield Noisy(images, labels[some])

    aligned = in_test_order(labels, dataset)
    return checked_set(f".npy files in {directory}", arrays, SEVERITIES, used, aligned, batches)
