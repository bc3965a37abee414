"""The evaluation of trained networks under corruptions, which goes on where it stopped."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bnnjax.data import Dataset
from bnnjax.data.corrupted import CorruptedSet, generated
from bnnjax.data.corruptions import CORRUPTIONS, EXTRA
from bnnjax.robustness.outcomes import (
    Predict,
    measure,
    outcome_file,
    outcome_of,
    read_outcomes,
    write_outcomes,
)
from bnnjax.robustness.records import Evaluated, robustness_record
from bnnjax.robustness.scores import Outcome
from bnnjax.trained import Trained

# The quick version, at the end of every training run.
QUICK_SEVERITIES, QUICK_EXAMPLES = (1, 3, 5), 1000

Advance = Callable[[str], None]  # is told of each corruption that is done


def chosen(names: Sequence[str], corrupted: CorruptedSet) -> tuple[str, ...]:
    """Returns the corruptions of a set that are asked for, in its order.

    Args:
      names: of corruptions, or `all` or `benchmark` (those that scores are made of).
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


def evaluate(
    networks: Sequence[Trained],
    predicts: Sequence[Predict],
    dataset: Dataset,
    corrupted: CorruptedSet,
    corruptions: Sequence[str],
    severities: tuple[int, ...],
    place: Path,
    advance: Advance,
) -> list[dict[str, Any]]:
    """Returns the `robustness_record` of each network.

    Each corruption's images are made once and shown to all networks that have not seen them yet; what they
    say is kept below `place`, by the digests of network and data.

    Args:
      networks: trained.
      predicts: the same as functions.
      dataset: whose test images are the clean ones.
      corrupted: the noisy ones.
      corruptions: which of them.
      severities: which of them.
      place: of the evaluation.
      advance: is called after each corruption.

    Raises:
      DataError: if images or what was kept cannot be read.
    """
    settings = {
        "source": corrupted.source,
        "examples": corrupted.examples,
        "severities": list(severities),
        "data": dataset.digest,
    }

    def file(network: Trained, name: str) -> Path:
        return outcome_file(place, network.digest, settings, name)

    clean = []
    for network, predict in zip(networks, predicts, strict=True):
        kept = read_outcomes(file(network, "clean"), (0,))
        if kept is None:
            kept = {"0": outcome_of(predict(dataset.test.images))}, dataset.test.labels
            write_outcomes(file(network, "clean"), *kept)
        clean.append(kept[0]["0"])
    noisy: list[dict[str, dict[str, Outcome]]] = [{} for _ in networks]
    labels = dataset.test.labels
    for name in corruptions:
        found = [read_outcomes(file(network, name), severities) for network in networks]
        missing = [n for n, outcomes in enumerate(found) if outcomes is None]
        if missing:
            new, labels = measure([predicts[n] for n in missing], corrupted, name, severities)
            for n, outcomes in zip(missing, new, strict=True):
                write_outcomes(file(networks[n], name), outcomes, labels)
                found[n] = outcomes, labels
        for own, kept in zip(noisy, found, strict=True):
            assert kept is not None
            own[name], labels = kept
        advance(name)
    return [
        robustness_record(
            network.config.with_values(workdir=network.place),
            Evaluated(outcome, dataset.test.labels, own, labels),
            corrupted,
        )
        for network, outcome, own in zip(networks, clean, noisy, strict=True)
    ]


def quick_record(network: Trained, predict: Predict, dataset: Dataset) -> dict[str, Any]:
    """Returns the record of the quick version: all corruptions, few severities, at most 1,000 images.

    Nothing is kept.  Images are those of `quick_images` for any network on the data set.
    """
    corrupted = quick_images(dataset)
    noisy, labels = {}, dataset.test.labels
    for name in CORRUPTIONS:
        (noisy[name],), labels = measure([predict], corrupted, name, QUICK_SEVERITIES)
    clean = outcome_of(predict(dataset.test.images))
    found = Evaluated(clean, dataset.test.labels, noisy, labels)
    return robustness_record(network.config.with_values(workdir=network.place), found, corrupted)


def quick_images(dataset: Dataset) -> CorruptedSet:
    """Returns the images of the quick version, with the noise of seed 0."""
    examples = min(QUICK_EXAMPLES, len(dataset.test.labels))
    return generated(dataset.test, 0, name=dataset.name, examples=examples, batch_size=examples)


def example_images(
    corrupted: CorruptedSet, dataset: Dataset, corruptions: Sequence[str], severities: tuple[int, ...]
) -> dict[str, dict[str, np.ndarray]]:
    """Returns an image, clean ("0", if it is known) and at each severity, uint8 [h, w, c], by corruption."""
    shown: dict[str, dict[str, np.ndarray]] = {}
    for name in corruptions:
        images = np.asarray(next(iter(corrupted.batches(name, severities))).images[:, 0])
        clean = {"0": dataset.test.images[0]} if corrupted.is_aligned else {}
        shown[name] = clean | {str(s): image for s, image in zip(severities, images, strict=True)}
    return shown
