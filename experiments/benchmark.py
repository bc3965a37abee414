"""Times training and prediction steps and prints one JSON line a case.

    python experiments/benchmark.py                                   # the L1,inf penalty's overhead
    python experiments/benchmark.py --models resnet20 resnet18 vgg_small --methods fp irnet xnor
    python experiments/benchmark.py --every-method --constraints none # what a step of each method costs
    python experiments/benchmark.py --starts                          # cold and warm compilation cache
    python experiments/benchmark.py --weak-scaling 1 2 4 8 --batches 32 --constraints none  # fake devices
    python experiments/benchmark.py --memory 8 --models resnet18_imagenet --batches 8  # in 8 GB
    python experiments/benchmark.py --noise                           # corruptions, and their evaluation
    python experiments/benchmark.py --yardstick "python torch_irnet.py --steps 10"

Cases of one model and batch are timed in turn, so that their ratios to the first hold on a machine whose
speed drifts.  A yardstick is any command that prints a JSON line with `ms_per_step`.
"""

import itertools
import json
import math
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from bnnjax.cli.main import fail, main
from bnnjax.config.constraints import check
from bnnjax.config.training import MethodName, ModelName, Precision
from bnnjax.runtime.huge_pages import restart_with_huge_pages

if TYPE_CHECKING:
    from rich.console import Console

    from bnnjax.benchmarks.steps import Case

# What is timed in place of steps, one at a time.
MODES = ("starts", "weak_scaling", "memory", "noise", "yardstick", "first_step")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What to time: every combination of models, batches, methods and constraints."""

    # Networks.
    models: tuple[ModelName, ...] = ("resnet20",)
    # Binarization methods.
    methods: tuple[MethodName, ...] = ("irnet",)
    # Time all binarization methods there are, after those named.
    every_method: bool = False
    # Constraints: none, l1inf, lcr; several at once with commas between.
    constraints: tuple[str, ...] = ("none", "l1inf")
    # Images in a step.
    batches: tuple[int, ...] = (128,)
    # What convolutions compute in.
    precision: Precision = "float32"
    # Counted steps a case.
    repeats: int = 20
    # Time the way to the first step instead, with a cold and a warm compilation cache.
    starts: bool = False
    # Time the first case on so many fake devices in turn, each of which takes its batch.
    weak_scaling: tuple[int, ...] = ()
    # Find the largest batch of the first case that fits into so many gigabytes, by what training keeps for
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
        for name in ("models", "methods", "constraints", "batches"):
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


def prepare(arguments: Arguments) -> "Callable[[Console], int]":
    """Checks the cases and returns the work."""
    # Here, so that --help does not wait for JAX.
    from bnnjax.benchmarks.steps import Case
    from bnnjax.train.parallel import make_mesh

    methods = dict.fromkeys([*arguments.methods, *(get_args(MethodName) if arguments.every_method else ())])
    groups = [
        [
            Case(
                model=model, method=method, constraint=constraint, batch=batch, precision=arguments.precision
            )
            for method, constraint in itertools.product(methods, arguments.constraints)
        ]
        for model, batch in itertools.product(arguments.models, arguments.batches)
    ]
    for case in itertools.chain(*groups):
        if case.config.compares and arguments.memory is not None:  # the rest is checked by the configuration
            raise ValueError(f"memory is for constraints without another network; got {case.constraint}")
    elsewhere = arguments.starts or arguments.weak_scaling  # in processes with devices of their own
    for batch in () if elsewhere else arguments.batches:
        make_mesh(batch)
    return partial(work, arguments, groups)


def work(arguments: Arguments, groups: "list[list[Case]]", console: "Console") -> int:
    """Times what the arguments ask for; returns the exit code."""
    try:
        for record in records(arguments, groups):
            console.out(json.dumps(record), highlight=False)
    except ValueError as error:
        fail(Path(__file__).name, str(error))
    return 0


def records(arguments: Arguments, groups: "list[list[Case]]") -> Iterator[dict[str, Any]]:
    """Yields a record a case."""
    from bnnjax.benchmarks import corruptions, memory, steps
    from bnnjax.benchmarks.weak_scaling import weak_scaling
    from bnnjax.benchmarks.yardstick import compare_with
    from bnnjax.runtime.cache import use_compilation_cache

    first = groups[0][0]
    if arguments.first_step:
        use_compilation_cache()
        compiled = steps.compile_case(first)
        yield {"state": "compiled"}
        compiled.train()
        yield {"state": "stepped"}
    elif arguments.starts:
        yield from steps.time_starts(__file__, first)
    elif arguments.weak_scaling:
        case = ["--models", first.model, "--methods", first.method, "--constraints", first.constraint]
        case += ["--precision", first.precision, "--repeats", str(arguments.repeats)]
        yield from weak_scaling(__file__, case, first.batch, arguments.weak_scaling)
    elif arguments.memory is not None:
        yield from memory.largest_batches(first, int(1e9 * arguments.memory))
        variants = [replace(first, **changes) for changes in memory.VARIANTS]
        yield from steps.time_cases(variants, arguments.repeats)
    elif arguments.noise:
        use_compilation_cache()
        count = arguments.noise_images
        yield from corruptions.time_corruptions(count, arguments.noise_size, arguments.repeats)
        yield corruptions.time_evaluation(first, count, min(1000, count))
    elif arguments.yardstick:
        command = shlex.split(arguments.yardstick)
        yield compare_with(command, first, arguments.rounds, arguments.repeats)
    else:
        for group in groups:
            yield from steps.time_cases(group, arguments.repeats)


if __name__ == "__main__":
    restart_with_huge_pages()
    main(Arguments(), __doc__, prepare)
