"""What a training calls, compiled side by side before it begins."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax

from bnnjax.train.loop import Fit
from bnnjax.train.state import TrainState, all_finite


def compile_ahead(
    run: Fit, lower: Callable[[TrainState], Iterable[jax.stages.Lowered]], state: TrainState
) -> None:
    """Compiles the step, and at the same time what comes at an epoch's end, by calling it.

    JAX compiles a function when it is first called, and XLA spends most of the time on one core, without
    Python's lock.  The loop's own calls then find what is compiled.  Many processes compile as they go, since
    nothing promises that they compile, and call, in one order.

    Args:
      run: the training.
      lower: gives the programs of the feed, the step first.
      state: before the next step; it is not consumed.
    """
    if jax.process_count() > 1:
        return
    programs = lower(state)  # before the others: the step takes longest, and Python traces one at a time
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
