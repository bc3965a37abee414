"""Timing of ImageNet's input stream: the cost of decoding, and how long steps wait for batches."""

import io
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np
from PIL import Image

from bnnjax.benchmarks.fake_imagenet import write_official
from bnnjax.benchmarks.steps import median_ratio, time_in_turn
from bnnjax.config.names import ModelName
from bnnjax.config.training import Config
from bnnjax.data import StreamedDataset
from bnnjax.data.imagenet.sources import official_labels
from bnnjax.data.imagenet.write import prepare_imagenet
from bnnjax.data.streaming.decode import UNIFORMS, random_crop
from bnnjax.data.streaming.order import crop_uniforms
from bnnjax.data.streaming.stream import Rows, batches
from bnnjax.runs.input import make_feed
from bnnjax.runs.resolve import resolve
from bnnjax.runs.setup import make_setup
from bnnjax.train.parallel import compile_task, describe, make_mesh

SYNSETS, TRAIN, VALIDATION = 10, 32, 4  # of the made-up set, and images of each
DECODED = 64  # images in a timing of decoding
STREAMED = 1000  # images at least in a timing of workers, which need some to reach a steady rate


def make_set(place: Path) -> Path:
    """Writes synthetic official files, prepares them and returns the data directory."""
    labels = official_labels(official_labels().synsets[:: 1000 // SYNSETS])
    write_official(place, labels, TRAIN, VALIDATION)
    prepare_imagenet(place, place / "data", labels, 1, lambda images: lambda done: None)
    return place / "data"


def decoding(dataset: StreamedDataset, repeats: int) -> dict[str, Any]:
    """Times in turn, on one core: Pillow decoding files at full size; our reading, decoding and cropping."""
    cv2.setNumThreads(1)
    stream = dataset.stream
    places = stream.places[:DECODED].tolist()
    files = [stream.records[place].image for place in places]

    def raw() -> None:
        for file in files:
            with Image.open(io.BytesIO(file)) as image:
                np.asarray(image.convert("RGB"))

    def ours() -> None:
        for row, place in enumerate(places):
            uniforms = crop_uniforms(0, 0, 0, row, UNIFORMS)
            random_crop(stream.records[place].image, uniforms, stream.size)

    raw_times, own_times = time_in_turn([raw, ours], repeats)
    return {
        "case": "decoding",
        "kilobytes_an_image": round(statistics.mean(map(len, files)) / 1e3, 1),
        "pillow_images_per_second": round(len(files) / statistics.median(raw_times), 1),
        "ours_images_per_second": round(len(files) / statistics.median(own_times), 1),
        "time_ratio_ours_to_pillow": round(median_ratio(own_times, raw_times), 3),
    }


def streaming(dataset: StreamedDataset, batch: int, steps: int) -> dict[str, Any]:
    """Times streaming alone, without training, for `steps` batches but at least STREAMED images."""
    steps = max(steps, STREAMED // batch)
    rows = Rows(
        stream=dataset.stream, seed=0, batch_size=batch, own=np.arange(batch), begin=0, steps=steps + 4
    )
    with closing(batches(rows)) as coming:
        began = time.perf_counter()
        next(coming)
        starting = time.perf_counter() - began
        for _ in range(3):  # batches that were ready
            next(coming)
        began = time.perf_counter()
        for _ in coming:
            pass
        seconds = time.perf_counter() - began
    return {
        "case": "streaming",
        "batch": batch,
        "workers": dataset.stream.workers,
        "seconds_to_first_batch": round(starting, 2),
        "images_per_second": round(steps * batch / seconds, 1),
    }


def waiting(dataset: StreamedDataset, model: ModelName, batch: int, steps: int) -> dict[str, Any]:
    """Trains, finishing each step before the next batch is taken, and measures the wait for that batch."""
    config = resolve(Config(dataset="imagenet2012", model=model, batch_size=batch, epochs=10**6))
    mesh, setup = make_mesh(batch), make_setup(config, dataset)
    compiled = compile_task(setup.task, mesh, batch, len(dataset.train.labels))
    key = jax.random.key(0)
    state = compiled.init(key).train
    feed, _ = make_feed(config, dataset, setup.task, compiled, mesh, {}, key, lambda skipped: None)
    waits, whole = [], []
    with closing(feed(0)) as coming:
        for number in range(steps + 4):
            began = time.perf_counter()
            step = next(coming)
            taken = time.perf_counter()
            state = jax.block_until_ready(step(state))
            if number >= 4:  # compiled, and the stream has reached a steady rate
                waits.append(taken - began)
                whole.append(time.perf_counter() - began)
    return {
        "case": "waiting",
        "model": model,
        "batch": batch,
        "workers": dataset.stream.workers,
        "step_ms": round(1e3 * statistics.median(whole), 2),
        "wait_ms": round(1e3 * statistics.median(waits), 3),
        "wait_percent_of_all_steps": round(100 * sum(waits) / sum(whole), 2),
        "images_per_second": round(batch / statistics.median(whole), 1),
        **describe(mesh),
    }


def time_input(
    dataset: StreamedDataset, *, model: ModelName, batch: int, repeats: int
) -> Iterator[dict[str, Any]]:
    """Yields a record per case.

    Args:
      dataset: ImageNet, or the set from `make_set`.
      model: the network that is trained.
      batch: images per step.
      repeats: of each timing; also the number of steps.
    """
    yield decoding(dataset, repeats)
    yield streaming(dataset, batch, repeats)
    yield waiting(dataset, model, batch, repeats)
