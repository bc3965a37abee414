"""Times training and prediction steps and prints one JSON line a case.

    python experiments/benchmark.py                                   # the L1,inf penalty's overhead
    python experiments/benchmark.py --models resnet20 resnet18 vgg_small --methods fp irnet xnor
    python experiments/benchmark.py --starts                          # cold and warm compilation cache
    python experiments/benchmark.py --yardstick "python torch_irnet.py --steps 10"

Cases are timed in turn, so that ratios hold on a machine whose speed drifts.  A yardstick is any command that
prints a JSON line with `ms_per_step`.
"""

import itertools
import json
import shlex
from dataclasses import dataclass

import tyro

from bnnjax.config import ConstraintName, MethodName, ModelName, Precision
from bnnjax.huge_pages import restart_with_huge_pages


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What to time: every combination of models, methods, constraints and batches."""

    # Networks.
    models: tuple[ModelName, ...] = ("resnet20",)
    # Binarization methods.
    methods: tuple[MethodName, ...] = ("irnet",)
    # Constraints; the first is what the others are compared with.
    constraints: tuple[ConstraintName, ...] = ("none", "l1inf")
    # Images in a step.
    batches: tuple[int, ...] = (128,)
    # What convolutions compute in.
    precision: Precision = "float32"
    # Counted steps a case.
    repeats: int = 20
    # Time the way to the first step instead, with a cold and a warm compilation cache.
    starts: bool = False
    # Compare the first case with this command instead, in turn.
    yardstick: str | None = None
    # Rounds of the comparison.
    rounds: int = 5
    # Compile the first case, take one step, and say so; --starts runs this.
    first_step: bool = False


def main(arguments: Arguments) -> None:
    """Times what the arguments ask for."""
    from bnnjax import benchmark
    from bnnjax.run import use_compilation_cache

    groups = [
        [
            benchmark.Case(
                model=model, method=method, constraint=constraint, batch=batch, precision=arguments.precision
            )
            for constraint in arguments.constraints
        ]
        for model, method, batch in itertools.product(arguments.models, arguments.methods, arguments.batches)
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
