"""Timing of corruptions: how fast images are corrupted, and how long a whole evaluation takes."""

import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from bnnjax.benchmarks.steps import Case, random_images, seconds, spread
from bnnjax.config.training import Config
from bnnjax.data.corrupted import generated
from bnnjax.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt_severities
from bnnjax.robustness.outcomes import measure
from bnnjax.runs.resolve import resolve
from bnnjax.runs.saved import Trained, predictor
from bnnjax.runs.setup import make_network

FULL = 10_000  # test images of CIFAR-10


def machine() -> dict[str, Any]:
    """Returns a description of the machine that timings were taken on."""
    return {
        "devices": jax.device_count(),
        "device_kind": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "jax": jax.__version__,
    }


def time_corruptions(examples: int, size: int, repeats: int) -> Iterator[dict[str, Any]]:
    """Yields a record per corruption, of images of noise at all severities in one program.

    The first call, with compilation, is timed separately.

    Args:
      examples: images per call.
      size: height and width in pixels.
      repeats: timed calls.
    """
    images = jax.device_put(random_images(examples, size=size).test.images)
    key = jax.random.key(0)
    for name in CORRUPTIONS:

        def corrupt(name: str = name) -> None:
            jax.block_until_ready(corrupt_severities(key, images, name, SEVERITIES))

        first = seconds(corrupt)
        times = [seconds(corrupt) for _ in range(repeats)]
        yield {
            "corruption": name,
            "examples": examples,
            "size": size,
            "repeats": repeats,
            **machine(),
            "ms": spread(times),
            "images_per_second": round(len(SEVERITIES) * examples / statistics.median(times), 1),
            "first_call_seconds": round(first, 2),
        }


def time_evaluation(case: Case, examples: int, batch_size: int) -> dict[str, Any]:
    """Returns how long the evaluation of a network on all corruptions at all severities takes.

    `seconds` covers everything but reading the network, compilation included.  `minutes_for_10000_images` is
    measured if there are so many images, else scaled from a second evaluation, without compilation.

    Args:
      case: the network, with random weights, on images of noise of 32x32.
      examples: images.
      batch_size: images per forward pass.
    """
    dataset = random_images(examples)
    config = resolve(Config(method=case.method, model=case.model, precision=case.precision))
    network = make_network(config, dataset)
    trained = Trained(Path(), config, network, *jax.jit(network.init)(jax.random.key(0)))
    predict = predictor(trained, dataset, batch_size)
    corrupted = generated(dataset.test, 0, name=dataset.name, batch_size=min(1000, examples))

    def evaluate() -> float:
        began = time.perf_counter()
        for name in CORRUPTIONS:
            measure([predict], corrupted.batches(name, SEVERITIES), SEVERITIES)
        return time.perf_counter() - began

    taken = evaluate()
    again = taken if examples >= FULL else evaluate()
    return {
        **vars(case),
        "examples": examples,
        "conditions": len(CORRUPTIONS) * len(SEVERITIES),
        **machine(),
        "seconds": round(taken, 1),
        "seconds_again": round(again, 1),
        "minutes_for_10000_images": round(again / 60 * FULL / examples, 2),
    }
