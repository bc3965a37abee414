"""Robustness scores of predictions on clean and noisy images, in NumPy, with one entry per image.

Accuracies under noise come as {corruption: {severity as text: percent}}.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

Accuracies = Mapping[str, Mapping[str, float]]


class Outcome(NamedTuple):
    """A network's prediction for each image."""

    predictions: np.ndarray  # int32 [n], the likeliest class; -1 is none
    confidences: np.ndarray  # float32 [n], its probability, 0 to 1


def _paired(what: str, first: np.ndarray, second: np.ndarray) -> None:
    if first.shape != second.shape or first.ndim != 1 or len(first) == 0:
        raise ValueError(
            f"{what} need one entry for each of the same images; got {first.shape} and {second.shape}"
        )


def accuracy(outcome: Outcome, labels: np.ndarray) -> float:
    """Returns the percentage of images whose prediction is the label.

    Args:
      outcome: of n images.
      labels: int [n].

    Raises:
      ValueError: the lengths differ, or there is no image.
    """
    _paired("predictions and labels", outcome.predictions, labels)
    return 100 * float(np.mean(outcome.predictions == labels))


def expected_calibration_error(outcome: Outcome, labels: np.ndarray, bins: int = 15) -> float:
    """Returns sum_b |B_b| / n |accuracy(B_b) - confidence(B_b)| in percent.

    B_b holds the images with a confidence in ((b - 1) / bins, b / bins] (Guo et al., ICML 2017, arXiv
    1706.04599, eq. 3).  If a confidence is NaN, so is the result.

    Args:
      outcome: of n images.
      labels: int [n].
      bins: of equal width, at least 1.

    Raises:
      ValueError: the lengths differ, there is no image, a confidence is outside 0 to 1, or bins is below 1.
    """
    _paired("predictions and labels", outcome.predictions, labels)
    _paired("confidences and labels", outcome.confidences, labels)
    if bins < 1:
        raise ValueError(f"calibration needs at least 1 bin; got {bins}")
    confidences = outcome.confidences.astype(np.float64)
    # A softmax in float32 may exceed 1 by rounding.
    outside = confidences[(confidences < 0) | (confidences > 1 + 1e-5)]
    if len(outside):
        raise ValueError(f"a confidence must be between 0 and 1; got {outside[0]:g}")
    own = np.digitize(confidences, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    excess = np.bincount(own, (outcome.predictions == labels) - confidences)
    return 100 * float(np.sum(np.abs(excess))) / len(labels)


def flip_rate(outcome: Outcome, clean_outcome: Outcome) -> float:
    """Returns the percentage of images whose prediction under noise differs from the clean one.

    Args:
      outcome: of n noisy images.
      clean_outcome: of the same images without noise, in the same order.

    Raises:
      ValueError: the lengths differ, or there is no image.
    """
    _paired("noisy and clean predictions", outcome.predictions, clean_outcome.predictions)
    return 100 * float(np.mean(outcome.predictions != clean_outcome.predictions))


def _grid(
    what: str, accuracies: Accuracies, names: Iterable[str], severities: Iterable[str] = ()
) -> np.ndarray:
    """Returns float64 [names, severities]; without `severities` those of the first corruption are used."""
    names = tuple(names)
    if not names:
        raise ValueError(f"{what} need at least one corruption to average over")
    if lacking := [name for name in names if not accuracies.get(name)]:
        raise ValueError(f"{what} lack {', '.join(lacking)}")
    severities = tuple(severities) or tuple(accuracies[names[0]])
    for name in names:
        if odd := sorted(set(severities) ^ set(accuracies[name])):
            lacking = [severity for severity in odd if severity in severities]
            kind = "lack" if lacking else "have, beyond the others,"
            raise ValueError(f"{what} {kind} severity {', '.join(lacking or odd)} of {name}")
    return np.array([[accuracies[name][severity] for severity in severities] for name in names], np.float64)


def _errors(
    accuracies: Accuracies, baseline: Accuracies, names: Iterable[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns error rates in percent of both, [names, severities]."""
    names = tuple(names)
    own = _grid("the accuracies", accuracies, names)
    return 100 - own, 100 - _grid("the baseline's accuracies", baseline, names, accuracies[names[0]])


def mean_corruption_accuracy(accuracies: Accuracies, names: Iterable[str]) -> float:
    """Returns the unweighted mean of the accuracies over corruptions and severities, in percent.

    With the 15 corruptions of the benchmark and 5 severities this is RobustBench's score (Croce et al. 2021,
    arXiv 2010.09670); it is not 100 - mCE.

    Args:
      accuracies: by corruption and severity, in percent.
      names: the corruptions that count.

    Raises:
      ValueError: one is missing, or they have different severities.
    """
    return float(np.mean(_grid("the accuracies", accuracies, names)))


def mce(accuracies: Accuracies, baseline_accuracies: Accuracies, names: Iterable[str]) -> float | None:
    """Returns the mean corruption error mean_c (sum_s E_{s,c} / sum_s E'_{s,c}) in percent.

    E is the error rate, E' that of the baseline, whose own mCE is 100 (Hendrycks and Dietterich, ICLR 2019,
    arXiv 1903.12261, section 4.1, where the baseline is AlexNet on ImageNet-C).  Values against different
    baselines cannot be compared.

    Args:
      accuracies: by corruption and severity, in percent.
      baseline_accuracies: of the baseline, for the same corruptions and severities.
      names: the corruptions c that count.

    Returns:
      None where the baseline makes no error at any severity of a corruption.

    Raises:
      ValueError: a corruption or a severity is missing in either.
    """
    errors, baseline = _errors(accuracies, baseline_accuracies, names)
    return _mean_ratio(errors, baseline)


def relative_mce(
    accuracies: Accuracies,
    clean: float,
    baseline_accuracies: Accuracies,
    baseline_clean: float,
    names: Iterable[str],
) -> float | None:
    """Returns mean_c (sum_s (E_{s,c} - E_clean) / sum_s (E'_{s,c} - E'_clean)) in percent.

    The loss of accuracy under noise relative to that of the baseline (source as for `mce`).

    Args:
      accuracies: by corruption and severity, in percent.
      clean: accuracy without noise, in percent.
      baseline_accuracies: of the baseline, for the same corruptions and severities.
      baseline_clean: of the baseline.
      names: the corruptions c that count.

    Returns:
      None where the baseline loses nothing, or gains, over the severities of a corruption.

    Raises:
      ValueError: a corruption or a severity is missing in either.
    """
    errors, baseline = _errors(accuracies, baseline_accuracies, names)
    return _mean_ratio(errors - (100 - clean), baseline - (100 - baseline_clean))


def _mean_ratio(errors: np.ndarray, baseline: np.ndarray) -> float | None:
    # Rounding in a sum of equal percentages is not a loss.
    if np.any(baseline.sum(axis=1) <= 1e-9):
        return None
    return 100 * float(np.mean(errors.sum(axis=1) / baseline.sum(axis=1)))


def bootstrap_interval(
    correct: np.ndarray, *, samples: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Returns the percentile bootstrap interval of the mean of `correct`, in percent.

    Images are the unit: a resample draws n images with replacement and takes each with all its conditions,
    which keeps the correlation between conditions.  The mean depends only on how many images of a resample
    are right in 0, 1, ... conditions; these counts are multinomial, so they are drawn instead of the images.
    The interval covers the choice of test images, not the seed of training.

    Args:
      correct: bool [conditions, n] or [n], whether the image is right.
      samples: how many resamples, at least 1.
      seed: of the resamples.
      level: share of the resamples' means inside the interval, between 0 and 1.

    Raises:
      ValueError: a setting is out of range, or there is no image.
    """
    correct = np.atleast_2d(np.asarray(correct, bool))
    if correct.ndim != 2 or correct.size == 0:
        raise ValueError(f"correct must be [conditions, n], neither of them 0; got {correct.shape}")
    if samples < 1 or not 0 < level < 1:
        raise ValueError(f"samples must be at least 1 and level between 0 and 1; got {samples} and {level}")
    conditions, images = correct.shape
    shares = np.bincount(correct.sum(axis=0), minlength=conditions + 1) / images
    counts = np.random.default_rng(seed).multinomial(images, shares, size=samples)
    means = counts @ np.arange(conditions + 1) * (100 / (images * conditions))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
