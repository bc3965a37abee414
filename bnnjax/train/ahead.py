"""Parallel compilation, before training begins, of all programs that it calls."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax

from bnnjax.train.loop import Fit
from bnnjax.train.state import TrainState, all_finite


def compile_ahead(
    run: Fit, lower: Callable[[TrainState], Iterable[jax.stages.Lowered]], state: TrainState
) -> None:
    """Compiles the step, and at the same time the functions of an epoch's end, by calling them.

    JAX compiles a function when it is first called, and XLA spends most of the time on one core, without
    Python's lock.  The loop's own calls then find compiled programs.  Runs of several processes compile as
    they go, since nothing guarantees that all would compile and call in the same order.

    Args:
      run: the training.
      lower: returns the programs of the feed, the step first.
      state: before the next step; it is not consumed.
    """
    if jax.process_count() > 1:
        return
    programs = lower(state)  # first, since the step takes longest and Python traces one function at a time
    arrays = state.params, state.batch_stats
    calls: tuple[Callable[[], object], ...] = (
        *(program.compile for program in programs),
        partial(run.compiled.predict, *arrays, run.validation.images[:1]),
        partial(run.measure, *arrays),
        partial(all_finite, state),
    )
    with ThreadPoolExecutor(len(calls)) as pool:
        for job in [pool.submit(call) for call in calls]:
            job.result()
