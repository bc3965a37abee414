"""Evaluations: images are made once, outcomes are kept, and scores are those of the outcomes."""

import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from noise import noise

from bnnjax.config.constraints import L1InfConfig
from bnnjax.config.robustness import RobustnessConfig
from bnnjax.config.training import Config
from bnnjax.data import Augmentation
from bnnjax.data.corrupted import CorruptedSet, Noisy
from bnnjax.data.corruptions import corrupt
from bnnjax.data.dataset import DataError
from bnnjax.robustness import evaluation
from bnnjax.robustness.evaluation import chosen, each_compiled, example_images
from bnnjax.robustness.outcomes import outcome_of, read_outcomes, write_outcomes
from bnnjax.robustness.records import against_baseline, constraint_in_words, told_apart
from bnnjax.robustness.scores import Outcome
from bnnjax.studies.robustness import evaluate
from bnnjax.train.loop import StoppedError, StopRequest

DATASET = noise(30, Augmentation())
IMAGES, LABELS = DATASET.test.images[:12], DATASET.test.labels[:12]
CLASSES = len(DATASET.class_names)


class Network(NamedTuple):
    """A fake trained network with what an evaluation needs."""

    config: Config
    place: str
    digest: str


def network(seed, path):
    return Network(Config(seed=seed, method="xnor"), path / f"run{seed}", f"digest{seed}")


def corrupted_set(calls):
    """Darker images, in batches of 5."""

    def batches(corruption, severities):
        calls.append(corruption)
        for first in range(0, 12, 5):
            some = IMAGES[first : first + 5]
            yield Noisy(np.stack([some // (1 + s) for s in severities]), LABELS[first : first + 5])

    return CorruptedSet(
        source="darker images",
        corruptions=("fog", "contrast", "saturate"),
        severities=(1, 2, 3, 4, 5),
        examples=12,
        is_aligned=True,
        batches=batches,
    )


def predictor(factor):
    """A network that depends on some pixels."""

    def predict(images):
        pixels = np.asarray(images).reshape(len(images), -1)[:, :CLASSES].astype(float)
        return pixels * factor / 255

    return predict


def run(path, calls, factors, names=("fog", "contrast")):
    seen = []
    networks = [network(seed, path) for seed in range(len(factors))]
    predicts = [predictor(factor) for factor in factors]
    given = (networks, predicts, DATASET, corrupted_set(calls), names, (1, 3), path, seen.append)
    return evaluate(*given), seen


def test_scores_are_those_of_the_predictions(tmp_path):
    calls = []
    (record, other), seen = run(tmp_path, calls, (1.0, -1.0))
    assert calls == seen == ["fog", "contrast"]  # once for both networks
    for severity in (1, 3):
        pixels = (IMAGES // (1 + severity)).reshape(12, -1)[:, :CLASSES]
        right = pixels.argmax(1) == LABELS
        assert record["accuracy"]["fog"][str(severity)] == pytest.approx(100 * right.mean())
        flips = pixels.argmax(1) != IMAGES.reshape(12, -1)[:, :CLASSES].argmax(1)
        assert record["flip_rate"]["contrast"][str(severity)] == pytest.approx(100 * flips.mean())
    means = [value for name in ("fog", "contrast") for value in record["accuracy"][name].values()]
    assert record["mean_corruption_accuracy"] == pytest.approx(np.mean(means))
    low, high = record["mean_corruption_accuracy_interval"]
    assert low <= record["mean_corruption_accuracy"] <= high
    assert record["label"] == "xnor, none, seed 0"
    assert other["label"] == "xnor, none, seed 1"
    assert record["benchmark"] == ["fog", "contrast"]


def test_what_is_known_is_not_measured_again(tmp_path):
    calls = []
    first, _ = run(tmp_path, calls, (1.0,))
    again, _ = run(tmp_path, calls, (1.0,))
    assert calls == ["fog", "contrast"]
    assert again == first
    run(tmp_path, calls, (1.0, -1.0), names=("fog", "contrast", "saturate"))
    assert calls[2:] == ["fog", "contrast", "saturate"]


def test_the_baseline_has_100(tmp_path):
    records, _ = run(tmp_path, [], (1.0, -1.0))
    own, other = against_baseline(records, records[0])
    assert own["mce"] == pytest.approx(100)
    errors = [
        [sum(100 - value for value in record["accuracy"][name].values()) for name in record["benchmark"]]
        for record in records
    ]
    assert other["mce"] == pytest.approx(100 * np.mean(np.divide(errors[1], errors[0])))
    assert other["baseline"] == "xnor, none, seed 0"


def test_names_of_corruptions():
    corrupted = corrupted_set([])
    assert chosen(("all",), corrupted) == ("fog", "contrast", "saturate")
    assert chosen(("benchmark",), corrupted) == ("fog", "contrast")
    assert chosen(("saturate", "fog"), corrupted) == ("fog", "saturate")
    with pytest.raises(ValueError, match="no corruption rain in darker images; there are fog, contrast, sat"):
        chosen(("rain",), corrupted)


def test_example_images_are_of_the_first_image():
    shown = example_images(corrupted_set([]), DATASET, ("fog",), (1, 3))
    assert list(shown["fog"]) == ["0", "1", "3"]
    np.testing.assert_array_equal(shown["fog"]["0"], IMAGES[0])
    np.testing.assert_array_equal(shown["fog"]["3"], IMAGES[0] // 4)


def test_the_quick_version_is_of_all_noise_and_few_severities(monkeypatch, tmp_path):
    monkeypatch.setattr(evaluation, "QUICK_EXAMPLES", 12)
    monkeypatch.setattr(evaluation, "QUICK_BATCH", 5)
    monkeypatch.setattr(evaluation, "CORRUPTIONS", ("brightness", "impulse_noise", "saturate"))
    seen, told = [], []

    def predict(images):
        seen.append(np.asarray(images))
        return predictor(1.0)(images)

    config = Config(method="xnor", workdir=tmp_path)
    record, shown = evaluation.quick(config, predict, DATASET, told.append, tmp_path)
    assert told == ["brightness", "impulse_noise", "saturate"]
    assert record["benchmark"] == ["impulse_noise", "brightness"]
    assert record["examples"] == record["clean_examples"] == 12
    assert [len(images) for images in seen] == 3 * [15, 15, 6] + [12]
    for severity in (1, 3, 5):
        noisy = np.asarray(corrupt(jax.random.key(0), IMAGES, "brightness", severity))
        right = predictor(1.0)(noisy).argmax(1) == LABELS
        assert record["accuracy"]["brightness"][str(severity)] == pytest.approx(100 * right.mean())
        np.testing.assert_array_equal(shown["brightness"][str(severity)], noisy[0])
    np.testing.assert_array_equal(shown["saturate"]["0"], IMAGES[0])


def test_the_quick_version_goes_on_with_what_it_has_scored(monkeypatch, tmp_path):
    monkeypatch.setattr(evaluation, "QUICK_EXAMPLES", 12)
    monkeypatch.setattr(evaluation, "CORRUPTIONS", ("brightness", "impulse_noise", "saturate"))
    config, stop, asked = Config(method="xnor", workdir=tmp_path), StopRequest(), []

    def predict(images):
        asked.append(len(images))
        return predictor(1.0)(images)

    def advance(name):
        if name == "impulse_noise":
            stop.heard, stop.signal_name = signal.SIGTERM, "SIGTERM"

    whole, shown = evaluation.quick(config, predict, DATASET, str, tmp_path / "whole")
    every = list(asked)
    asked.clear()
    with pytest.raises(StoppedError):
        evaluation.quick(config, stop.before(predict), DATASET, advance, tmp_path / "kept")
    assert asked == every[:2]
    asked.clear()
    again, shown_again = evaluation.quick(config, predict, DATASET, str, tmp_path / "kept")
    assert asked == every[2:]
    assert again == whole
    assert shown_again.keys() == shown.keys()
    for name, images in shown.items():
        for severity, image in images.items():
            np.testing.assert_array_equal(shown_again[name][severity], image)


def test_corruptions_come_in_order_each_after_its_program_and_the_next_are_compiled_meanwhile():
    both, compiled = threading.Barrier(2), []

    def compile_for(name, severities):
        if name in ("fog", "contrast"):
            both.wait(60)  # neither is done before the other has begun
        compiled.append((name, severities))

    corrupted = replace(corrupted_set([]), compile=compile_for)
    for name in each_compiled(corrupted, ("fog", "contrast", "saturate"), (1, 3)):
        assert (name, (1, 3)) in compiled
    assert {name for name, _ in compiled} == {"fog", "contrast", "saturate"}


def test_what_goes_wrong_in_compiling_is_told():
    def compile_for(name, severities):
        raise ValueError(f"no program for {name}")

    with pytest.raises(ValueError, match="no program for fog"):
        list(each_compiled(replace(corrupted_set([]), compile=compile_for), ("fog", "contrast"), (1,)))


def test_images_that_have_no_noise_are_refused_with_the_flag_that_helps():
    images = DATASET.test._replace(images=np.zeros((1, 8, 8, 4), np.uint8))
    with pytest.raises(ValueError, match=r"got \[1, 8, 8, 4\]; give --noise none"):
        evaluation.check_quick(replace(DATASET, test=images))


def test_outcomes_come_back_from_disk(tmp_path):
    outcome = outcome_of(np.array([[0.0, 2.0, 1.0], [1e4, -1e4, 0.0]]))
    np.testing.assert_array_equal(outcome.predictions, [1, 0])
    np.testing.assert_allclose(outcome.confidences, [1 / (1 + np.exp(-1) + np.exp(-2)), 1])
    none = outcome_of(np.array([[0.0, np.nan], [np.inf, 1.0], [np.nan, 0.0]]))
    np.testing.assert_array_equal(none.predictions, [-1, -1, -1])
    assert np.isnan(none.confidences).all()
    file = tmp_path / "a" / "fog.npz"
    write_outcomes(file, {"2": outcome}, np.array([1, 1]))
    found, labels = read_outcomes(file, (2,))
    np.testing.assert_array_equal(found["2"].predictions, outcome.predictions)
    np.testing.assert_array_equal(labels, [1, 1])
    assert isinstance(found["2"], Outcome)
    assert read_outcomes(tmp_path / "b.npz", (2,)) is None
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(DataError, match="damaged; delete it"):
        read_outcomes(file, (2,))


def named(**values):
    kind = {"method": "irnet", "constraint": "none", "model": "resnet20", "seed": 0, "run": "runs/a"}
    return {**kind, **values}


def test_labels_and_settings_say_in_what_runs_of_one_kind_differ():
    records = [named(), named(seed=1), named(), named(method="fp"), named(model="vgg_small")]
    common = {"method": "irnet", "constraint": "none", "model": "resnet20", "wbits": 1, "teacher": None}
    settings = [
        common,
        common,
        {**common, "wbits": 2, "teacher": "abc"},
        {**common, "method": "fp", "wbits": 32},
        {**common, "model": "vgg_small"},
    ]
    told = told_apart(records, settings)
    assert [record["label"] for record in told] == [
        "irnet, none, model resnet20, wbits 1, teacher default, seed 0",
        "irnet, none, model resnet20, wbits 1, teacher default, seed 1",
        "irnet, none, model resnet20, wbits 2, teacher abc, seed 0",
        "fp, none, seed 0",
        "irnet, none, model vgg_small, wbits 1, teacher default, seed 0",
    ]
    assert told[0]["setting"] == told[1]["setting"] == "wbits 1, teacher default"
    assert told[3]["setting"] == ""
    again = told_apart([named(), named(run="runs/b")], [common, common])
    assert [record["label"] for record in again] == [
        "irnet, none, seed 0, run runs/a",
        "irnet, none, seed 0, run runs/b",
    ]
    assert again[0]["setting"] != again[1]["setting"]


def test_a_constraints_form_is_said_where_it_is_not_the_default():
    assert constraint_in_words(Config(constraint="lcr")) == "lcr"
    assert constraint_in_words(Config(constraint="l1inf")) == "l1inf"
    hard = Config(constraint="l1inf", l1inf=L1InfConfig(form="hard", radius=10))
    assert constraint_in_words(hard) == "l1inf (hard, radius 10)"
    bound = Config(constraint="l1inf", l1inf=L1InfConfig(form="both", bound=1e5))
    assert constraint_in_words(bound) == "l1inf (both, bound 100000)"
    floor = Config(constraint="l1inf", l1inf=L1InfConfig(form="floor", radius=3.0))
    assert constraint_in_words(floor) == "l1inf (floor, radius 3)"
    agreement = Config(constraint="l1inf", l1inf=L1InfConfig(form="agreement"))
    assert constraint_in_words(agreement) == "l1inf (agreement, strength 0.003)"


@pytest.mark.parametrize(
    ("text", "numbers"), [("1-5", (1, 2, 3, 4, 5)), ("3", (3,)), ("1,3,5", (1, 3, 5)), ("5, 1-2", (1, 2, 5))]
)
def test_severities_as_one_types_them(text, numbers):
    assert RobustnessConfig(severities=text).severity_numbers() == numbers


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"severities": "0-5"}, "severities must be like 1-5 or 1,3,5, within 1 to 5; got 0-5"),
        ({"severities": "4-2"}, "got 4-2"),
        ({"severities": ""}, "severities must be"),
        ({"examples": 0}, "examples must be at least 1; got 0"),
        ({"attacks": (0.0,)}, "attacks must be above 0 and up to 255; got 0.0"),
        ({"corruptions": ()}, "corruptions must be all, benchmark or names"),
        ({"trace_severity": 6}, "trace_severity must be 1 to 5; got 6"),
        ({"trace": "none", "trace_severity": 2}, "trace_severity is for a trace; got 2 with none"),
        ({"queries": 5}, "queries is for attacks; got 5 with none"),
        ({"twin": Path("run")}, "twin is for attacks; got run with none"),
    ],
)
def test_settings_out_of_range_are_refused(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        RobustnessConfig(**values)
