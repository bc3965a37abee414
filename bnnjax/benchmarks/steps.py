"""Timing of training and prediction steps; cases take turns, so that drift of the machine cancels."""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec as P

from bnnjax.config.constraints import LCRConfig
from bnnjax.config.names import Kernels, MethodName, ModelName, Precision
from bnnjax.config.resolved import ResolvedConfig
from bnnjax.config.training import Config
from bnnjax.constraints.objective import LCR
from bnnjax.data import Augmentation, Dataset, Split
from bnnjax.runs.initial import full_precision
from bnnjax.runs.resolve import resolve
from bnnjax.runs.setup import constrained_network, make_network, make_setup
from bnnjax.train.parallel import compile_task, make_mesh, replicate, step_options
from bnnjax.train.state import TrainState
from bnnjax.train.step import Images
from bnnjax.types import AXIS, Tree

WARM_UP = 3  # steps that are not timed


@dataclass(frozen=True, kw_only=True)
class Case:
    """One case to time: a model, its method and how it is trained."""

    model: ModelName = "resnet20"
    method: MethodName = "irnet"
    constraint: str = "none"
    lcr_form: Literal["repo", "paper"] = "repo"
    second_pass: bool = False  # of lcr's repo form
    batch: int = 128
    precision: Precision = "float32"
    remat: bool = False
    pack_codes: bool = False
    kernels: Literal["auto", Kernels] = "auto"

    @property
    def config(self) -> ResolvedConfig:
        """The configuration of a run of this case."""
        config = Config(
            method=self.method,
            model=self.model,
            constraint=self.constraint,
            precision=self.precision,
            batch_size=self.batch,
            remat=self.remat,
            pack_codes=self.pack_codes,
            kernels=self.kernels,
            lcr=LCRConfig(form=self.lcr_form, second_pass=self.second_pass),
        )
        return resolve(config)

    @property
    def dataset(self) -> Dataset:
        """Images of noise for the network: with ImageNet's size and classes, or CIFAR-10's."""
        if self.model.endswith("imagenet"):
            return random_images(4 * self.batch, classes=1000, size=224)
        return random_images(4 * self.batch)


@dataclass(kw_only=True)
class Compiled:
    """A compiled case: `train`, `predict` and `watch` run a step and return when it is finished.

    `watch` predicts and computes the penalty of the same images.
    """

    case: Case
    train: Callable[[], None]
    predict: Callable[[], None]
    watch: Callable[[], None]
    compile_seconds: float
    peak_bytes: int | None  # arguments and temporaries; None if the backend does not report it
    flops: float | None  # of a training step, as XLA counts; likewise, and None with kernels in C
    bytes_accessed: float | None  # by a training step, likewise


def random_images(examples: int, classes: int = 10, size: int = 32) -> Dataset:
    """Returns a data set of noise, for timing only."""
    rng = np.random.default_rng(0)
    split = Split(
        rng.integers(0, 256, (examples, size, size, 3), np.uint8),
        rng.integers(0, classes, examples).astype(np.int32),
    )
    return Dataset(
        name="noise",
        class_names=tuple(map(str, range(classes))),
        train=split,
        validation=split,
        test=split,
        augmentation=Augmentation(crop_padding=4, flip=True),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        source="random numbers",
        digest="",
    )


def compile_case(case: Case) -> Compiled:
    """Compiles a case as a real run does, with augmentation, penalty and optimizer."""
    config, dataset = case.config, case.dataset
    mesh = make_mesh(case.batch)
    teachers = {}
    if config.compares:  # with a network of random weights
        teachers[LCR] = make_network(full_precision(config), dataset)
    setup = make_setup(config, dataset, teachers)
    task = setup.task
    compiled = compile_task(task, mesh, case.batch, len(dataset.train.labels))
    key = replicate(mesh, jax.random.key(0))
    state = compiled.init(key).train
    arrays = {name: jax.jit(teacher.init)(jax.random.key(1)) for name, teacher in teachers.items()}
    images, labels = jnp.asarray(dataset.train.images), jnp.asarray(dataset.train.labels)
    data = replicate(mesh, Images(images, labels, arrays))
    batches = compiled.order(key, 0)
    began = time.perf_counter()
    step = compiled.train.lower(state, data, batches, key).compile()
    compile_seconds = time.perf_counter() - began
    memory, counts = step.memory_analysis(), step.cost_analysis() or {}
    if config.kernels == "native":  # which XLA knows nothing about
        counts = {}
    tested = dataset.test.images[: case.batch]
    constrained = constrained_network(config, setup.network, teachers.get(LCR))

    def watched(state: TrainState, batch: Array, teacher: Tree) -> tuple[Array, Array]:
        images = task.normalization(batch)
        logits, after = constrained.forward(
            state.params, state.batch_stats, images, None, state.carried, teacher
        )
        return logits, jax.lax.pmean(after.penalty, AXIS)

    over_all = partial(jax.shard_map, mesh=mesh, check_vma=False)
    watch_step = jax.jit(
        over_all(watched, in_specs=(P(), P(AXIS), P()), out_specs=(P(AXIS), P())),
        compiler_options=step_options(),
    )

    def train() -> None:
        nonlocal state
        state = jax.block_until_ready(step(state, data, batches, key))

    def predict() -> None:
        compiled.predict(state.params, state.batch_stats, tested)

    def watch() -> None:
        jax.device_get(watch_step(state, tested, data.teacher))

    return Compiled(
        case=case,
        train=train,
        predict=predict,
        watch=watch,
        compile_seconds=compile_seconds,
        peak_bytes=memory.temp_size_in_bytes + memory.argument_size_in_bytes if memory else None,
        flops=counts.get("flops"),
        bytes_accessed=counts.get("bytes accessed"),
    )


def seconds(function: Callable[[], Any]) -> float:
    """Returns the seconds that a call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def spread(times: Sequence[float]) -> dict[str, float]:
    """Returns minimum, median and maximum of times, in milliseconds."""
    return {
        name: round(1e3 * function(times), 3)
        for name, function in (("min", min), ("median", statistics.median), ("max", max))
    }


def time_in_turn(functions: Sequence[Callable[[], Any]], repeats: int) -> list[list[float]]:
    """Returns the seconds of each call, a list per function; all are called in turn, `repeats` times."""
    for _ in range(WARM_UP):
        for function in functions:
            function()
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, own in zip(functions, times, strict=True):
            own.append(seconds(function))
    return times


def median_ratio(times: Sequence[float], others: Sequence[float]) -> float:
    """Returns the median of the ratios of times that were taken in turn."""
    return statistics.median(mine / other for mine, other in zip(times, others, strict=True))


def time_cases(cases: Sequence[Case], repeats: int) -> Iterator[dict[str, Any]]:
    """Times all cases in turn, `repeats` times, and yields a record per case.

    The ratio `train_ratio_to_first` compares a case with the first one, repeat by repeat.
    """
    compiled = [compile_case(case) for case in cases]
    times = time_in_turn([function for one in compiled for function in (one.train, one.predict)], repeats)
    device = jax.devices()[0]
    for one, trained, predicted in zip(compiled, times[::2], times[1::2], strict=True):
        yield {
            **vars(one.case),
            "devices": jax.device_count(),
            "device_kind": device.device_kind,
            "cores": os.cpu_count(),
            "jax": jax.__version__,
            "repeats": repeats,
            "train_ms": spread(trained),
            "predict_ms": spread(predicted),
            "train_images_per_second": round(one.case.batch / statistics.median(trained), 1),
            "predict_images_per_second": round(one.case.batch / statistics.median(predicted), 1),
            "train_ratio_to_first": round(median_ratio(trained, times[0]), 4),
            "compile_seconds": round(one.compile_seconds, 2),
            "peak_mbytes": None if one.peak_bytes is None else round(one.peak_bytes / 1e6, 1),
        }
