"""A made-up run that looks like a real one."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from bnnjax.report.run.pictures import Examples

CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class FakeRun(NamedTuple):
    """The arguments of `pages.write_run_page`."""

    config: dict[str, Any]
    metrics: list[dict[str, Any]]
    summary: dict[str, Any]
    units: list[dict[str, Any]]
    examples: Examples
    confusion: np.ndarray  # [classes, classes]


def make_run(epochs: int = 3, units: int = 5, off: tuple[int, ...] = ()) -> FakeRun:
    """Makes a run of a residual network on CIFAR-10.

    Args:
      epochs: length of the record.
      units: how many units the network has.
      off: which of them are switched off.
    """
    rng = np.random.default_rng(0)
    metrics = [_record(epoch, epochs, rng, len(off)) for epoch in range(1, epochs + 1)]
    table = [_unit(index, units, rng, index in off) for index in range(units)]
    confusion = np.full((10, 10), 12) + rng.integers(0, 20, (10, 10)) + 800 * np.eye(10, dtype=int)
    confusion[3, 5] += 140
    summary = {
        "dataset": "cifar10",
        "method": "reactnet",
        "bits": "1/1",
        "model": "resnet20",
        "structure": "birealnet",
        "constraint": "l1inf",
        "test_accuracy": 84.37,
        "validation_accuracy": 84.92,
        "test_loss": 0.512,
        "log_lipschitz_bound": 31.42,
        "train_seconds": 7384.2,
        "images_per_second": 1874.3,
        "parameters": 272474,
        "devices": 1,
        "device_kind": "NVIDIA H100 80GB HBM3",
        "epochs": epochs,
        "seed": 0,
        "units_off": len(off),
        "best_epoch": max(1, epochs - 2),
        "batch_size": 128,
        "optimizer": "sgd",
        "epoch_seconds": 18.4,
        "versions": {
            "python": "3.11.9",
            "jax": "0.10.2",
            "flax": "0.12.8",
            "optax": "0.2.8",
            "bnnjax": "0.1.0",
        },
        "git_revision": "3f2a91c0d5",
        "command": "python -m bnnjax.train --dataset=cifar10 --model=resnet20 --constraint=l1inf",
    }
    config = {
        "dataset": "cifar10",
        "epochs": epochs,
        "optimizer": {
            "name": "sgd",
            "learning_rate": 0.1,
            "schedule": {"name": "cosine", "warmup_epochs": 5},
        },
        "l1inf": {"target": "folded", "strength": 0.001, "temperature": 0.0},
        "augmentation": ["crop", "flip"],
        "resume": None,
    }
    return FakeRun(config, metrics, summary, table, make_examples(24), confusion)


def make_examples(count: int, channels: int = 3) -> Examples:
    """Makes smooth random images, half of them mistaken."""
    rng = np.random.default_rng(1)
    coarse = rng.uniform(0, 255, (count, 4, 4, channels))
    images = np.repeat(np.repeat(coarse, 8, axis=1), 8, axis=2).astype(np.uint8)
    labels = rng.integers(0, 10, count)
    return Examples(
        images=images,
        labels=labels,
        predictions=np.where(np.arange(count) % 5 == 0, labels, (labels + 3) % 10),
        confidences=rng.uniform(0.4, 1.0, count),
        losses=rng.exponential(3.0, count),
        class_names=CIFAR,
    )


@pytest.fixture(scope="session")
def fake_run() -> Callable[..., FakeRun]:
    return make_run


@pytest.fixture(scope="session")
def fake_examples() -> Callable[..., Examples]:
    return make_examples


def _record(epoch: int, epochs: int, rng: np.random.Generator, off: int) -> dict[str, Any]:
    done = epoch / epochs
    train = 88 - 60 * math.exp(-6 * done) + rng.normal(0, 0.4)
    task = 2.3 * math.exp(-2.2 * done) + 0.2 + rng.normal(0, 0.01)
    penalty = 0.04 - 0.02 * done
    return {
        "epoch": epoch,
        "step": 351 * epoch,
        "loss": task + penalty,
        "task_loss": task,
        "penalty": penalty,
        "train_accuracy": train,
        "validation_loss": task + 0.1 + rng.normal(0, 0.03),
        "validation_accuracy": min(train - 3 + rng.normal(0, 1.2), 99.0),
        "log_lipschitz_bound": 47 - 16 * done,
        "units_off": off if done > 0.5 else 0,
        "learning_rate": 0.05 * (1 + math.cos(math.pi * (epoch - 1) / epochs)),
        "images_per_second": 1870 + rng.normal(0, 25),
        "seconds": 18.4,
    }


def _unit(index: int, units: int, rng: np.random.Generator, off: bool) -> dict[str, Any]:
    outer = index in (0, units - 1)
    name = (
        "stem"
        if index == 0
        else "head"
        if outer
        else f"stage{1 + 3 * index // units}_block{index // 2}/conv{index % 2 + 1}"
    )
    fan_in = 27 if index == 0 else 144 * 2 ** (3 * index // units)
    norm = 4e-5 if off else float(rng.lognormal(2.2, 0.6))
    tightness = float(rng.uniform(0.15, 0.7))
    bound = norm / tightness
    return {
        "unit": name,
        "kind": "full precision" if outer else "binary",
        "l1inf": norm,
        "spectral": bound / math.sqrt(fan_in),
        "fan_in": fan_in,
        "spectral_bound": bound,
        "tightness": tightness,
        "off": off,
    }


CORRUPTIONS = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
    "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
    "speckle_noise", "gaussian_blur", "spatter", "saturate",
)  # fmt: skip


def make_robustness(
    number: int = 0,
    names: tuple[str, ...] = CORRUPTIONS,
    severities: tuple[str, ...] = ("1", "2", "3", "4", "5"),
    **more: Any,
) -> dict[str, Any]:
    """Makes the record of one run under noise: 80 + run - corruption's place - 4 severity, in percent.

    Args:
      number: of the run; seeds 0 and 1 of each of the constraints none, l1inf and so on.
      names: the corruptions; those of the first fifteen that are here are the benchmark.
      severities: as text.
      **more: entries to put in the place of its own.
    """
    constraint = ("none", "l1inf", "lcr")[number // 2 % 3]
    accuracy = {
        name: {s: 80.0 + number - CORRUPTIONS.index(name) - 4 * int(s) for s in severities} for name in names
    }
    benchmark = [name for name in CORRUPTIONS[:15] if name in names]
    mean = float(np.mean([value for name in benchmark for value in accuracy[name].values()]))
    return {
        "run": f"runs/{constraint}-{number}",
        "label": f"irnet, {constraint}, seed {number % 2}",
        "model": "resnet20",
        "method": "irnet",
        "constraint": constraint,
        "seed": number % 2,
        "source": "made from the test images of CIFAR-10",
        "examples": 1234,
        "severities": list(severities),
        "benchmark": benchmark,
        "clean_accuracy": 81.0 + number,
        "accuracy": accuracy,
        "intervals": {n: {s: [v - 2, v + 1] for s, v in own.items()} for n, own in accuracy.items()},
        "mean_corruption_accuracy": mean,
        "mean_corruption_accuracy_interval": [mean - 0.5, mean + 0.25],
        "mce": 90.0 - number,
        "relative_mce": None,
        "baseline": "irnet, none, seed 0",
        "clean_ece": 3.5,
        "ece": {n: {s: 4.0 + int(s) for s in own} for n, own in accuracy.items()},
        "mean_ece": 7.25,
        "flip_rate": None,
        "mean_flip_rate": None,
        **more,
    }


def make_corrupted(
    names: tuple[str, ...] = CORRUPTIONS, severities: str = "012345", channels: int = 3
) -> dict[str, dict[str, np.ndarray]]:
    """Makes an image for each corruption and severity, no two alike."""
    rng = np.random.default_rng(2)
    return {n: {s: rng.integers(0, 256, (8, 8, channels), dtype=np.uint8) for s in severities} for n in names}


@pytest.fixture(scope="session")
def fake_robustness() -> Callable[..., dict[str, Any]]:
    return make_robustness


@pytest.fixture(scope="session")
def fake_corrupted() -> Callable[..., dict[str, dict[str, np.ndarray]]]:
    return make_corrupted
