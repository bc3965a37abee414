"""Evaluation under corruptions: the quick version that ends a run, and parts that all versions share."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from bnnjax.config.training import Config
from bnnjax.data import Dataset
from bnnjax.data.corrupted import CorruptedSet, Noisy, generated
from bnnjax.data.corruptions import CORRUPTIONS, EXTRA, check_shape
from bnnjax.robustness.outcomes import Predict, measure, outcome_of, read_outcomes, write_outcomes
from bnnjax.robustness.records import Evaluated, robustness_record
from bnnjax.runtime.processes import gather, is_first

QUICK_SEVERITIES, QUICK_EXAMPLES = (1, 3, 5), 1000
QUICK_BATCH = 250  # images that are corrupted at once: large ones take gigabytes of temporary arrays

Advance = Callable[[str], None]  # called with the name of each corruption that is done


def chosen(names: Sequence[str], corrupted: CorruptedSet) -> tuple[str, ...]:
    """Returns the requested corruptions of a set, in its order.

    Args:
      names: of corruptions, or `all` or `benchmark` (those that enter scores).
      corrupted: the set.

    Raises:
      ValueError: for a name that the set does not have.
    """
    groups = {
        "all": corrupted.corruptions,
        "benchmark": tuple(name for name in corrupted.corruptions if name not in EXTRA),
    }
    for name in names:
        if name not in groups and name not in corrupted.corruptions:
            have = ", ".join(corrupted.corruptions)
            raise ValueError(f"there is no corruption {name} in {corrupted.source}; there are {have}")
    wanted = {one for name in names for one in groups.get(name, (name,))}
    return tuple(name for name in corrupted.corruptions if name in wanted)


def each_compiled(
    corrupted: CorruptedSet, names: Sequence[str], severities: tuple[int, ...]
) -> Iterator[str]:
    """Yields the corruptions in order, each once its program is compiled; others are compiled meanwhile.

    XLA compiles a program on one core, without holding Python's lock.
    """
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for name, job in [(name, pool.submit(corrupted.compile, name, severities)) for name in names]:
            job.result()
            yield name
    finally:
        pool.shutdown(cancel_futures=True)


def check_quick(dataset: Dataset) -> None:
    """Rejects a data set whose images the quick version cannot corrupt.

    Raises:
      ValueError: naming their shape and the flag that skips the evaluation.
    """
    try:
        check_shape(dataset.test.images.shape)
    except ValueError as error:
        raise ValueError(f"{error}; give --noise none") from error


def number_scored(kept: Path) -> int:
    """Returns how many of the corruptions, from the first on, all processes find outcomes of."""
    found = takewhile(lambda name: (kept / f"{name}.npz").exists(), CORRUPTIONS)
    return int(gather([len(list(found))]).min())


def quick(
    config: Config, predict: Predict, dataset: Dataset, advance: Advance, kept: Path
) -> tuple[dict[str, Any], dict[str, dict[str, np.ndarray]]]:
    """Returns the record and the example images of the quick version, with which every training run ends.

    It uses all corruptions, severities 1, 3 and 5, the first 1,000 test images and the noise of seed 0: the
    same for every network on the data set.

    Args:
      config: of the run, resolved.
      predict: its network.
      dataset: whose test images are used.
      advance: called after each corruption.
      kept: where outcomes are kept, and read if they are there.

    Raises:
      DataError: if what was kept cannot be read.
    """
    count = min(QUICK_EXAMPLES, len(dataset.test.labels))
    corrupted = generated(dataset.test, 0, name=dataset.name, examples=count, batch_size=QUICK_BATCH)
    noisy, shown = {}, {}
    scored = number_scored(kept)
    for number, name in enumerate(each_compiled(corrupted, tuple(CORRUPTIONS), QUICK_SEVERITIES)):
        batches = corrupted.batches(name, QUICK_SEVERITIES)
        first = next(batches)
        shown[name] = _first_images(first, QUICK_SEVERITIES, dataset.test.images[0])
        file = kept / f"{name}.npz"
        outcomes = read_outcomes(file, QUICK_SEVERITIES) if number < scored else None
        if outcomes is None:
            (own,), labels = measure([predict], chain([first], batches), QUICK_SEVERITIES)
            outcomes = own, labels
            if is_first():
                write_outcomes(file, *outcomes)
        noisy[name] = outcomes[0]
        advance(name)
    images, labels = dataset.test.images[:count], dataset.test.labels[:count]
    found = Evaluated(outcome_of(predict(images)), labels, noisy, labels)
    return robustness_record(config, found, corrupted), shown


def example_images(
    corrupted: CorruptedSet, dataset: Dataset, corruptions: Sequence[str], severities: tuple[int, ...]
) -> dict[str, dict[str, np.ndarray]]:
    """Returns one image by corruption and severity, uint8 [h, w, c]; the clean one, if known, is "0"."""
    shown: dict[str, dict[str, np.ndarray]] = {}
    for name in corruptions:
        clean = dataset.test.images[0] if corrupted.is_aligned else None
        shown[name] = _first_images(next(iter(corrupted.batches(name, severities))), severities, clean)
    return shown


def _first_images(
    batch: Noisy, severities: tuple[int, ...], clean: np.ndarray | None
) -> dict[str, np.ndarray]:
    noisy = {str(s): image for s, image in zip(severities, np.asarray(batch.images[:, 0]), strict=True)}
    return noisy if clean is None else {"0": clean} | noisy
