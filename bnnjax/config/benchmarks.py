"""The configurations of the benchmarks, from which their command lines are made."""

import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bnnjax.config.checks import check
from bnnjax.config.names import Kernels, MethodName, ModelName, Precision

# What is timed in place of steps, one at a time.
MODES = ("starts", "weak_scaling", "memory", "noise", "yardstick", "first_step")


@dataclass(frozen=True, kw_only=True)
class StepsConfig:
    """What to time: every combination of models, batches, methods and constraints."""

    # Networks.
    models: tuple[ModelName, ...] = ("resnet20",)
    # Binarization methods.
    methods: tuple[MethodName, ...] = ("irnet",)
    # Time all binarization methods there are, after those named.
    every_method: bool = False
    # Constraints: none, l1inf, lcr; several at once with commas between.
    constraints: tuple[str, ...] = ("none", "l1inf")
    # Convolutions of codes on CPUs; `bnnjax train --help` says more.
    kernels: tuple[Literal["auto", Kernels], ...] = ("auto",)
    # Images in a step.
    batches: tuple[int, ...] = (128,)
    # What convolutions compute in.
    precision: Precision = "float32"
    # Counted steps a case.
    repeats: int = 20
    # Time the start up to the first step instead, with a cold and a warm compilation cache.
    starts: bool = False
    # Time the first case on these numbers of fake devices in turn, each device with its batch.
    weak_scaling: tuple[int, ...] = ()
    # Find the largest batch of the first case that fits into this many gigabytes, by what training keeps for
    # its backward pass, and time steps of the given batch.
    memory: float | None = None
    # Time the corruptions, and the evaluation of the first case under all of them, instead.
    noise: bool = False
    # Images that are corrupted.
    noise_images: int = 1000
    # Pixels of a side; the evaluation is of 32x32 images, whatever this is.
    noise_size: int = 32
    # Compare the first case with this command instead, in turn.
    yardstick: str | None = None
    # Rounds of the comparison.
    rounds: int = 5
    # Compile the first case, take one step, and say so; --starts runs this.
    first_step: bool = False

    def __post_init__(self) -> None:
        for name in ("models", "methods", "constraints", "kernels", "batches"):
            check(name, "nothing", "at least one", bool(getattr(self, name)))
        for name in ("batches", "weak_scaling", "repeats", "rounds", "noise_images", "noise_size"):
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                check(name, number, "at least 1", number >= 1)
        if self.memory is not None:
            check("memory", self.memory, "positive and finite", 0 < self.memory < math.inf)
        if self.yardstick is not None:
            check("yardstick", repr(self.yardstick), "a command", bool(shlex.split(self.yardstick)))
        modes = [name for name in MODES if getattr(self, name)]
        if len(modes) > 1:
            raise ValueError(f"{' and '.join(modes)} exclude each other: name one")


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """What to time, and where the images come from."""

    # Where ImageNet is prepared; left out: made-up images, for this run alone.
    data_dir: Path | None = None
    # Network that waits for images.
    model: ModelName = "resnet18_imagenet"
    # Images in a step.
    batch: int = 64
    # Processes that decode; left out: the CPU cores.
    workers: int | None = None
    # Height and width of crops.
    size: int = 224
    # Counted repeats and steps.
    repeats: int = 10

    def __post_init__(self) -> None:
        for name in ("batch", "size", "repeats"):
            check(name, getattr(self, name), "at least 1", getattr(self, name) >= 1)
        check("workers", str(self.workers), "0 or positive", self.workers is None or self.workers >= 0)


@dataclass(frozen=True, kw_only=True)
class KernelsConfig:
    """How to time kernels."""

    # Images in a call.
    batch: int = 32
    # Counted calls of each.
    repeats: int = 20

    def __post_init__(self) -> None:
        for name in ("batch", "repeats"):
            check(name, getattr(self, name), "at least 1", getattr(self, name) >= 1)


@dataclass(frozen=True, kw_only=True)
class ConstraintsConfig:
    """What to time under each constraint."""

    # Network.
    model: ModelName = "resnet20"
    # Binarization method.
    method: MethodName = "irnet"
    # Images in a step, over all devices.
    batch: int = 128
    # What convolutions compute in.
    precision: Precision = "float32"
    # Convolutions of codes on CPUs; XLA counts operations and bytes of its own alone.
    kernels: Literal["auto", Kernels] = "auto"
    # Counted steps of each.
    repeats: int = 20
    # Training images in an epoch.
    train_examples: int = 50_000
    # Test images in an epoch.
    test_examples: int = 10_000
    # Where overhead.md and overhead.json go.
    workdir: Path = Path("overhead")

    def __post_init__(self) -> None:
        for name in ("batch", "repeats", "train_examples", "test_examples"):
            check(name, getattr(self, name), "at least 1", getattr(self, name) >= 1)
