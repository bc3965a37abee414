"""The modes of `bnnjax benchmark steps`: steps, starts, weak scaling, memory, corruptions, a yardstick."""

import itertools
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, get_args

from bnnjax.benchmarks import corruptions, memory, processes, steps
from bnnjax.benchmarks.steps import Case
from bnnjax.benchmarks.yardstick import compare_with
from bnnjax.config.benchmarks import StepsConfig
from bnnjax.config.names import MethodName
from bnnjax.runtime.cache import use_compilation_cache
from bnnjax.train.parallel import make_mesh

OWN_PROCESS = (sys.executable, "-m", "bnnjax", "benchmark", "steps")


def groups_of(config: StepsConfig) -> list[list[Case]]:
    """Returns the cases in groups that are timed in turn, each of one model and batch.

    Raises:
      ValueError: if a case is not possible.
    """
    methods = dict.fromkeys([*config.methods, *(get_args(MethodName) if config.every_method else ())])
    groups = [
        [
            Case(
                model=model,
                method=method,
                constraint=constraint,
                batch=batch,
                precision=config.precision,
                kernels=kernels,
            )
            for method, constraint, kernels in itertools.product(methods, config.constraints, config.kernels)
        ]
        for model, batch in itertools.product(config.models, config.batches)
    ]
    for case in itertools.chain(*groups):
        if case.config.compares and config.memory is not None:  # the rest is checked by the configuration
            raise ValueError(f"memory is for constraints without another network; got {case.constraint}")
    elsewhere = config.starts or config.weak_scaling  # in processes with devices of their own
    for batch in () if elsewhere else config.batches:
        make_mesh(batch)
    return groups


def _program(case: Case, repeats: int) -> list[str]:
    """Returns the command that times a single case, without its batch."""
    names = ["--models", case.model, "--methods", case.method, "--constraints", case.constraint]
    names += ["--kernels", case.kernels]
    return [*OWN_PROCESS, *names, "--precision", case.precision, "--repeats", str(repeats)]


def records(config: StepsConfig, groups: list[list[Case]]) -> Iterator[dict[str, Any]]:
    """Yields a record per case.

    Raises:
      ValueError: if a timed process fails, or the backend does not report what is needed.
    """
    first = groups[0][0]
    if config.first_step:
        use_compilation_cache()
        compiled = steps.compile_case(first)
        yield {"state": "compiled"}
        compiled.train()
        yield {"state": "stepped"}
    elif config.starts:
        program = [*_program(first, config.repeats), "--batches", str(first.batch)]
        yield from processes.time_starts(program, first)
    elif config.weak_scaling:
        program = _program(first, config.repeats)
        yield from processes.weak_scaling(program, first.batch, config.weak_scaling)
    elif config.memory is not None:
        yield from memory.largest_batches(first, int(1e9 * config.memory))
        variants = [replace(first, **changes) for changes in memory.VARIANTS]
        yield from steps.time_cases(variants, config.repeats)
    elif config.noise:
        use_compilation_cache()
        count = config.noise_images
        yield from corruptions.time_corruptions(count, config.noise_size, config.repeats)
        yield corruptions.time_evaluation(first, count, min(1000, count))
    elif config.yardstick:
        yield compare_with(shlex.split(config.yardstick), first, config.rounds, config.repeats)
    else:
        for group in groups:
            yield from steps.time_cases(group, config.repeats)
