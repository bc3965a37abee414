"""Times training and prediction steps and prints one JSON line a case.

    python experiments/benchmark.py                                   # the L1,inf penalty's overhead
    python experiments/benchmark.py --models resnet20 resnet18 vgg_small --methods fp irnet xnor
    python experiments/benchmark.py --every-method --constraints none # what a step of each method costs
    python experiments/benchmark.py --starts                          # cold and warm compilation cache
    python experiments/benchmark.py --weak-scaling 1 2 4 8 --batches 32 --constraints none  # fake devices
    python experiments/benchmark.py --noise                           # corruptions, and their evaluation
    python experiments/benchmark.py --yardstick "python torch_irnet.py --steps 10"

Cases of one model and batch are timed in turn, so that their ratios to the first hold on a machine whose
speed drifts.  A yardstick is any command that prints a JSON line with `ms_per_step`.
"""

import itertools
import json
import shlex
from dataclasses import dataclass
from typing import get_args

import tyro

from bnnjax.config import MethodName, ModelName, Precision
from bnnjax.huge_pages import restart_with_huge_pages


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


def main(arguments: Arguments) -> None:
    """Times what the arguments ask for."""
    from bnnjax import benchmark, noise_benchmark
    from bnnjax.cache import use_compilation_cache
    from bnnjax.weak_scaling import weak_scaling

    methods = dict.fromkeys([*arguments.methods, *(get_args(MethodName) if arguments.every_method else ())])
    groups = [
        [
            benchmark.Case(
                model=model, method=method, constraint=constraint, batch=batch, precision=arguments.precision
            )
            for method, constraint in itertools.product(methods, arguments.constraints)
        ]
        for model, batch in itertools.product(arguments.models, arguments.batches)
    ]
    first = groups[0][0]
    if arguments.first_step:
        use_compilation_cache()
        compiled = benchmark.compile_case(first)
        print("compiled", flush=True)
        compiled.train()
        print("stepped", flush=True)
    elif arguments.starts:
        for record in benchmark.time_starts(__file__, first):
            print(json.dumps(record), flush=True)
    elif arguments.weak_scaling:
        case = ["--models", first.model, "--methods", first.method, "--constraints", first.constraint]
        case += ["--precision", first.precision, "--repeats", str(arguments.repeats)]
        for record in weak_scaling(__file__, case, first.batch, arguments.weak_scaling):
            print(json.dumps(record), flush=True)
    elif arguments.noise:
        use_compilation_cache()
        count = arguments.noise_images
        for record in noise_benchmark.time_corruptions(count, arguments.noise_size, arguments.repeats):
            print(json.dumps(record), flush=True)
        print(json.dumps(noise_benchmark.time_evaluation(first, count, min(1000, count))))
    elif arguments.yardstick:
        command = shlex.split(arguments.yardstick)
        print(json.dumps(benchmark.compare_with(command, first, arguments.rounds, arguments.repeats)))
    else:
        for group in groups:
            for record in benchmark.time_cases(group, arguments.repeats):
                print(json.dumps(record), flush=True)


if __name__ == "__main__":
    restart_with_huge_pages()
    main(tyro.cli(Arguments, description=__doc__))
