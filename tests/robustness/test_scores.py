"""Scores against values worked out by hand, other ways of counting, and SciPy."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

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


def outcome(predictions: list[int], confidences: list[float] | None = None) -> Outcome:
    return Outcome(
        np.array(predictions, np.int32), np.array(confidences or [0.5] * len(predictions), np.float32)
    )


def test_accuracy_and_flips_are_counted() -> None:
    labels = np.array([0, 1, 2, 2, 1], np.int32)
    clean, noisy = outcome([0, 1, 2, 0, 0]), outcome([0, 2, 2, 1, 0])
    assert accuracy(clean, labels) == pytest.approx(
        100 * sklearn.metrics.accuracy_score(labels, [0, 1, 2, 0, 0])
    )
    assert accuracy(noisy, labels) == pytest.approx(40)
    assert flip_rate(noisy, clean) == pytest.approx(40)  # one of the two was wrong before
    assert flip_rate(clean, clean) == 0


def slow_ece(predictions: np.ndarray, confidences: np.ndarray, labels: np.ndarray, bins: int) -> float:
    """Bin by bin, as the definition has it."""
    total = 0.0
    for b in range(bins):
        inside = [i for i, c in enumerate(confidences) if b / bins < c <= (b + 1) / bins]
        if inside:
            right = sum(predictions[i] == labels[i] for i in inside) / len(inside)
            said = math.fsum(confidences[i] for i in inside) / len(inside)
            total += len(inside) / len(labels) * abs(right - said)
    return 100 * total


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_the_calibration_error_is_its_definition(bins: int) -> None:
    rng = np.random.default_rng(bins)
    labels, predictions = rng.integers(0, 4, (2, 500), dtype=np.int32)
    confidences = rng.uniform(0.1, 1, 500).astype(np.float32)
    found = expected_calibration_error(Outcome(predictions, confidences), labels, bins)
    assert found == pytest.approx(slow_ece(predictions, confidences.astype(float), labels, bins), abs=1e-9)


def test_the_calibration_error_by_hand_and_at_edges() -> None:
    labels = np.zeros(4, np.int32)
    # Of four bins (0.5, 0.75] holds two images, one right, and (0.75, 1] two, both right.
    found = expected_calibration_error(outcome([0, 1, 0, 0], [0.75, 0.625, 1.0, 1.0]), labels, bins=4)
    assert found == pytest.approx(100 * 0.5 * (0.6875 - 0.5))
    # 0.5 belongs to the lower of two bins: each alone would give 25 + 0, together they give 12.5.
    pair = np.zeros(2, np.int32)
    assert expected_calibration_error(outcome([0, 1], [0.5, 0.25]), pair, bins=2) == pytest.approx(12.5)
    assert expected_calibration_error(outcome([0, 1], [0.5, 0.75]), pair, bins=2) == pytest.approx(62.5)
    assert expected_calibration_error(outcome([1, 1], [1.0, 1.0]), pair) == 100
    assert expected_calibration_error(outcome([1], [1.000001]), pair[:1]) == pytest.approx(100, abs=1e-3)
    assert math.isnan(expected_calibration_error(outcome([0, 0], [math.nan, 1.0]), pair))


def test_scores_of_images_refuse_what_does_not_fit() -> None:
    some, labels = outcome([0, 1, 2]), np.array([0, 1], np.int32)
    for score in (accuracy, expected_calibration_error):
        with pytest.raises(ValueError, match=r"same images; got \(3,\) and \(2,\)"):
            score(some, labels)
        with pytest.raises(ValueError, match=r"got \(0,\) and \(0,\)"):
            score(outcome([]), labels[:0])
    with pytest.raises(ValueError, match=r"noisy and clean predictions .* got \(3,\) and \(1,\)"):
        flip_rate(some, outcome([0]))
    for wrong in (-0.25, 75.0):
        with pytest.raises(ValueError, match=f"between 0 and 1; got {wrong:g}"):
            expected_calibration_error(outcome([0, 1], [0.5, wrong]), labels)
    with pytest.raises(ValueError, match="at least 1 bin; got 0"):
        expected_calibration_error(outcome([0, 1]), labels, bins=0)


# Accuracies in percent; errors of ours 10, 30 and 20, 40; of the baseline 20, 60 and 50, 70.
OURS = {"fog": {"1": 90.0, "2": 70.0}, "snow": {"1": 80.0, "2": 60.0}, "spatter": {"1": 0.0}}
BASE = {"fog": {"2": 40.0, "1": 80.0}, "snow": {"1": 50.0, "2": 30.0}}
NAMES = ("fog", "snow")


def test_means_over_corruptions_by_hand() -> None:
    assert mean_corruption_accuracy(OURS, NAMES) == pytest.approx(75)
    assert mean_corruption_accuracy(OURS, ["snow"]) == pytest.approx(70)
    assert mce(OURS, BASE, NAMES) == pytest.approx(100 * (40 / 80 + 60 / 120) / 2)
    assert mce(OURS, BASE, iter(["snow"])) == pytest.approx(50)
    # Clean errors 5 and 15: (40 - 10) / (80 - 30) and (60 - 10) / (120 - 30).
    assert relative_mce(OURS, 95, BASE, 85, NAMES) == pytest.approx(100 * (30 / 50 + 50 / 90) / 2)


def test_a_network_is_its_own_measure() -> None:
    assert mce(BASE, BASE, NAMES) == pytest.approx(100)
    assert relative_mce(BASE, 93, BASE, 93, NAMES) == pytest.approx(100)


def test_the_ratio_of_sums_is_not_the_mean_of_ratios() -> None:
    ours, base = {"fog": {"1": 90.0, "5": 50.0}}, {"fog": {"1": 99.0, "5": 50.0}}
    assert mce(ours, base, ["fog"]) == pytest.approx(100 * 60 / 51)


def test_a_baseline_without_error_gives_no_score() -> None:
    perfect = {"fog": {"1": 100.0, "2": 100.0}, "snow": BASE["snow"]}
    assert mce(OURS, perfect, NAMES) is None
    assert mce(OURS, perfect, ["snow"]) == pytest.approx(50)
    assert relative_mce(OURS, 95, BASE, 60, NAMES) is None  # fog: 80 - 2 * 40
    assert relative_mce(OURS, 95, BASE, 50, NAMES) is None  # noise helps it
    assert relative_mce(OURS, 95, {"fog": {"1": 70.1, "2": 70.1}}, 70.1, ["fog"]) is None


@pytest.mark.parametrize(
    ("ours", "base", "message"),
    [
        ({"fog": OURS["fog"]}, BASE, "^the accuracies lack snow$"),
        ({}, BASE, "^the accuracies lack fog, snow$"),
        (OURS, {"fog": BASE["fog"], "snow": {}}, "^the baseline's accuracies lack snow$"),
        (OURS, {**BASE, "snow": {"1": 50.0}}, "^the baseline's accuracies lack severity 2 of snow$"),
        (
            OURS,
            {**BASE, "fog": {**BASE["fog"], "3": 1.0}},
            "^the baseline's accuracies have, beyond the others, severity 3 of fog$",
        ),
        ({**OURS, "snow": {"1": 50.0}}, BASE, "^the accuracies lack severity 2 of snow$"),
    ],
)
def test_what_is_missing_is_named(ours: dict, base: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mce(ours, base, NAMES)
    with pytest.raises(ValueError, match=message):
        relative_mce(ours, 95, base, 85, NAMES)


def test_a_mean_over_nothing_or_over_uneven_severities_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one corruption"):
        mean_corruption_accuracy(OURS, [])
    with pytest.raises(ValueError, match="lack severity 2 of spatter"):
        mean_corruption_accuracy(OURS, ["fog", "spatter"])
    with pytest.raises(ValueError, match="beyond the others, severity 2 of fog"):
        mean_corruption_accuracy(OURS, ["spatter", "fog"])


def correlated(conditions: int, images: int) -> np.ndarray:
    """Whether images are right: some are easy in all conditions, some hard."""
    rng = np.random.default_rng(0)
    return rng.random((conditions, images)) < rng.beta(2, 1, images)


def test_one_condition_has_the_binomial_interval() -> None:
    correct = correlated(1, 2000)
    share = correct.mean()
    half = scipy.stats.norm.ppf(0.95) * math.sqrt(share * (1 - share) / 2000)
    low, high = bootstrap_interval(correct[0], samples=20_000, level=0.9)
    assert low == pytest.approx(100 * (share - half), abs=0.1)
    assert high == pytest.approx(100 * (share + half), abs=0.1)
    assert bootstrap_interval(correct, samples=20_000, level=0.9) == (low, high)


def resampled(correct: np.ndarray) -> tuple[float, float]:
    found = scipy.stats.bootstrap(
        (100 * correct.mean(axis=0),),
        np.mean,
        n_resamples=9999,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    return found.low, found.high


@pytest.mark.parametrize(("conditions", "images"), [(1, 300), (6, 300), (75, 40)])
def test_the_interval_is_that_of_resampled_images(conditions: int, images: int) -> None:
    correct = correlated(conditions, images)
    low, high = bootstrap_interval(correct, samples=9999)
    expected = resampled(correct)
    width = expected[1] - expected[0]
    assert (low, high) == pytest.approx(expected, abs=0.05 * width)
    # Were conditions resampled each on its own, the interval would be narrower.
    if conditions > 1:
        alone = 2 * 1.96 * 100 * math.sqrt(correct.mean() * (1 - correct.mean()) / correct.size)
        assert high - low > 1.4 * alone


def test_a_repeated_condition_adds_nothing() -> None:
    one = correlated(1, 400)
    assert bootstrap_interval(np.repeat(one, 5, axis=0)) == pytest.approx(bootstrap_interval(one), abs=1.0)


def test_the_interval_at_its_edges() -> None:
    assert bootstrap_interval(np.ones((3, 20), bool)) == (100, 100)
    assert bootstrap_interval(np.zeros(20, bool)) == (0, 0)
    some = correlated(2, 50)
    assert bootstrap_interval(some, seed=3) == bootstrap_interval(some, seed=3)
    assert bootstrap_interval(some, seed=3) != bootstrap_interval(some, seed=4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: bootstrap_interval(c[:, :0]), r"neither of them 0; got \(2, 0\)"),
        (lambda c: bootstrap_interval(c[None]), r"got \(1, 2, 50\)"),
        (lambda c: bootstrap_interval(c, samples=0), "got 0 and 0.95"),
        (lambda c: bootstrap_interval(c, level=95), "got 1000 and 95"),
    ],
)
def test_the_interval_refuses(call: Callable[[np.ndarray], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(correlated(2, 50))
