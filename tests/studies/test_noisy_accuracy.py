"""Accuracy under noise of a network with known answers, and of a trained one."""

from pathlib import Path

import jax
import numpy as np
import pytest
import tiny_experiment
from rich.console import Console

import bnnjax.runs.plan
import bnnjax.runs.train
from bnnjax.config.training import Config
from bnnjax.data import Split
from bnnjax.data.corrupted import Noisy
from bnnjax.data.corruptions import corrupt
from bnnjax.runs.saved import predictor, read_trained
from bnnjax.runtime.files import read_json
from bnnjax.studies import l1inf
from bnnjax.studies.l1inf import noisy_accuracies, noisy_batches

KEY = jax.random.key(0)


def test_all_images_are_covered_chunk_by_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
    monkeypatch.setattr(l1inf, "CHUNK", 3)
    split = Split(images, np.arange(7, dtype=np.int32))
    found = noisy_batches(split, 0, ("impulse_noise", "gaussian_noise"), (1, 5))
    assert list(found) == ["impulse_noise", "gaussian_noise"]
    for name, batches in found.items():
        np.testing.assert_array_equal(np.concatenate([batch.labels for batch in batches]), split.labels)
        by_severity = np.concatenate([batch.images for batch in batches], axis=1)
        for severity, noisy in zip((1, 5), by_severity, strict=True):
            np.testing.assert_array_equal(noisy, corrupt(KEY, images, name, severity))


def test_the_accuracy_is_that_of_the_noisy_images() -> None:
    """The network detects white pixels: salt, and nothing else, changes its answer."""

    def predict(images: np.ndarray) -> np.ndarray:
        return np.stack([np.full(len(images), 0.5), (images == 255).any(axis=(1, 2, 3))], axis=1)

    images = np.full((400, 4, 4, 1), 100, np.uint8)
    split = Split(images, np.zeros(400, np.int32))
    noisy = noisy_batches(split, 0, ("impulse_noise", "gaussian_blur"), (1, 5))
    found = noisy_accuracies(predict, noisy, (1, 5))
    assert found["gaussian_blur"] == {"1": 100, "5": 100}
    for severity, share in (("1", 0.01), ("5", 0.07)):
        assert found["impulse_noise"][severity] == pytest.approx(100 * (1 - share / 2) ** 16, abs=6)


@pytest.mark.slow
def test_a_trained_network_predicts_as_its_run_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bnnjax.runs.plan, "load", tiny_experiment.load)
    config = Config(
        dataset="digits",
        model="resnet_tiny",
        batch_size=8,
        epochs=1,
        learning_rate=0.05,
        train_examples=320,
        workdir=tmp_path / "run",
        noise="none",
    )
    assert bnnjax.runs.train.execute(bnnjax.runs.plan.prepare(config), Console(quiet=True)) == 0
    dataset = tiny_experiment.load(config)
    predict = predictor(read_trained(tmp_path / "run", dataset), dataset, batch_size=7)
    clean = Noisy(dataset.test.images[None], dataset.test.labels)
    found = noisy_accuracies(predict, {"none": [clean]}, (0,))
    summary = read_json(tmp_path / "run" / "summary.json")
    assert found["none"]["0"] == pytest.approx(summary["test_accuracy"])
