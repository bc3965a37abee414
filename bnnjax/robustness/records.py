"""Records of robustness scores, computed from predictions on corrupted images, for reports."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bnnjax.config.training import Config
from bnnjax.data.corrupted import CorruptedSet
from bnnjax.data.corruptions import BENCHMARK
from bnnjax.robustness.scores import (
    Outcome,
    accuracy,
    bootstrap_interval,
    expected_calibration_error,
    flip_rate,
    mce,
    mean_corruption_accuracy,
    relative_mce,
)


class Evaluated(NamedTuple):
    """One network's predictions on all clean and corrupted images."""

    clean: Outcome
    clean_labels: np.ndarray  # int32 [n]
    noisy: Mapping[str, Mapping[str, Outcome]]  # by corruption and severity
    labels: np.ndarray  # int32 [n], of the noisy images


def constraint_in_words(config: Config) -> str:
    """Returns a run's constraint, with its form if that is not the default."""
    if config.constraint != "l1inf" or config.l1inf.form == "soft":
        return config.constraint
    if config.l1inf.form in ("agreement", "reach"):
        return f"l1inf ({config.l1inf.form}, strength {config.l1inf.strength:g})"
    amount = (
        f"bound {config.l1inf.bound:g}"
        if config.l1inf.bound is not None
        else f"radius {config.l1inf.radius:g}"
    )
    return f"l1inf ({config.l1inf.form}, {amount})"


def robustness_record(config: Config, found: Evaluated, corrupted: CorruptedSet) -> dict[str, Any]:
    """Returns the scores of one network, without those that need a baseline.

    Args:
      config: of its run, resolved.
      found: of all corruptions, at the same severities.
      corrupted: the set of images.

    Returns:
      A record for JSON.  In percent: `clean_accuracy`, and `accuracy`, `ece` and `flip_rate` by corruption
      and severity with their means, which are over the corruptions of BENCHMARK (over all if there are none).
      `intervals` are 95 % bootstrap intervals over images.  Flip rates are None unless noisy image i is known
      to be made from test image i.
    """
    names = [name for name in BENCHMARK if name in found.noisy] or list(found.noisy)

    def each(score: Any) -> dict[str, dict[str, Any]]:
        return {
            name: {severity: score(outcome) for severity, outcome in outcomes.items()}
            for name, outcomes in found.noisy.items()
        }

    def mean(values: Mapping[str, Mapping[str, float]]) -> float:
        return float(np.mean([value for name in names for value in values[name].values()]))

    def is_right(outcome: Outcome) -> np.ndarray:
        return outcome.predictions == found.labels

    accuracies = each(lambda outcome: accuracy(outcome, found.labels))
    ece = each(lambda outcome: expected_calibration_error(outcome, found.labels))
    clean = Outcome(*(part[: len(found.labels)] for part in found.clean))
    flips = each(lambda outcome: flip_rate(outcome, clean)) if corrupted.is_aligned else None
    right = np.array([is_right(outcome) for name in names for outcome in found.noisy[name].values()])
    return {
        "run": str(config.workdir),
        "label": f"{config.method}, {constraint_in_words(config)}, seed {config.seed}",
        "model": config.model,
        "method": config.method,
        "constraint": constraint_in_words(config),
        "seed": config.seed,
        "source": corrupted.source,
        "examples": len(found.labels),
        "clean_examples": len(found.clean_labels),
        "severities": list(accuracies[names[0]]),
        "benchmark": names,
        "clean_accuracy": accuracy(found.clean, found.clean_labels),
        "accuracy": accuracies,
        "intervals": each(lambda outcome: bootstrap_interval(is_right(outcome))),
        "mean_corruption_accuracy": mean_corruption_accuracy(accuracies, names),
        "mean_corruption_accuracy_interval": bootstrap_interval(right),
        "mce": None,
        "relative_mce": None,
        "baseline": None,
        "clean_ece": expected_calibration_error(found.clean, found.clean_labels),
        "ece": ece,
        "mean_ece": mean(ece),
        "flip_rate": flips,
        "mean_flip_rate": None if flips is None else mean(flips),
    }


def told_apart(
    records: Sequence[Mapping[str, Any]], settings: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Returns the records with a `setting` in words, in which runs of one method and constraint differ.

    Runs with one model, method, constraint and setting differ in their seeds alone; a label says all of it.

    Args:
      records: of runs.
      settings: for each, all that may change its results but the seed, by name.
    """
    told: list[dict[str, Any]] = []
    for record, own in zip(records, settings, strict=True):
        kind = {"method": record["method"], "constraint": record["constraint"]}
        alike = [other for each, other in zip(records, settings, strict=True) if kind.items() <= each.items()]
        words = [
            f"{name} {'default' if value is None else value}"
            for name, value in own.items()
            if name not in kind and any(other.get(name) != value for other in alike)
        ]
        label = ", ".join([*kind.values(), *words, f"seed {record['seed']}"])
        setting = ", ".join(word for word in words if word != f"model {record['model']}")
        told.append({**record, "label": label, "setting": setting})
    counts = Counter(record["label"] for record in told)
    # Twice the same run, or another version's.
    repeated = [record for record in told if counts[record["label"]] > 1]
    for record in repeated:
        name = f"run {record['run']}"
        record["label"] += f", {name}"
        record["setting"] = ", ".join(filter(None, (record["setting"], name)))
    return told


def against_baseline(
    records: Sequence[Mapping[str, Any]], baseline: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Returns the records with mCE and relative mCE against the baseline added."""
    return [
        {
            **record,
            "mce": mce(record["accuracy"], baseline["accuracy"], record["benchmark"]),
            "relative_mce": relative_mce(
                record["accuracy"],
                record["clean_accuracy"],
                baseline["accuracy"],
                baseline["clean_accuracy"],
                record["benchmark"],
            ),
            "baseline": baseline["label"],
        }
        for record in records
    ]
