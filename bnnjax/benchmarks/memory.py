"""The largest batch that fits into memory, by what training keeps for the backward pass."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import jax

from bnnjax.benchmarks.steps import Case
from bnnjax.runs.setup import make_setup
from bnnjax.train.parallel import compile_task, make_mesh, once_options
from bnnjax.train.step import Images

# Changes to a case; others are compared with the first.
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"pack_codes": True},
    {"remat": True},
    {"remat": True, "pack_codes": True},
)


def step_bytes(case: Case) -> int:
    """Returns the bytes that a training step needs beside its images, the run's state included.

    This is the size of XLA's buffers as XLA reports it; nothing is run.

    Args:
      case: without a constraint that compares with another network.

    Raises:
      ValueError: if the backend does not report it.
    """
    dataset = case.dataset
    setup = make_setup(case.config, dataset)
    compiled = compile_task(setup.task, make_mesh(case.batch), case.batch, len(dataset.train.labels))
    key = jax.eval_shape(partial(jax.random.key, 0))
    state = jax.eval_shape(compiled.init, key).train
    order = jax.eval_shape(lambda key: compiled.order(key, 0), key)
    split = jax.eval_shape(Images, dataset.train.images, dataset.train.labels)
    # Optimization of machine code changes no buffer, and would take most of the time.
    options: Any = once_options()
    memory = compiled.train.lower(state, split, order, key).compile(options).memory_analysis()
    if memory is None:
        raise ValueError(f"backend {jax.default_backend()} does not report the memory that a step needs")
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    return memory.temp_size_in_bytes + size


def largest_batch(need: Callable[[int], int], begin: int, unit: int, budget: int) -> tuple[int, int]:
    """Returns the largest batch that fits, to within 2 %, and the bytes that it needs.

    Args:
      need: bytes for a batch; about linear, with jumps where the compiler plans buffers differently.
      begin: the batch to start with.
      unit: batches are multiples of it.
      budget: bytes.

    Raises:
      ValueError: if a batch of `begin` does not fit.
    """
    fits, used = begin, need(begin)
    if used > budget:
        raise ValueError(f"memory must hold a batch of {begin}, {used / 1e6:.0f} MB; got {budget / 1e6:.0f}")
    too_large, image = None, used / begin
    while too_large is None or too_large - fits > max(unit, fits // 50):
        batch = fits + max(int((budget - used) / image) // unit * unit, unit)
        if too_large is not None and batch >= too_large:
            batch = (fits + too_large) // 2 // unit * unit
        bytes_needed = need(batch)
        image = (bytes_needed - used) / (batch - fits)
        if bytes_needed > budget:
            too_large = batch
        else:
            fits, used = batch, bytes_needed
    return fits, used


def largest_batches(case: Case, budget: int) -> Iterator[dict[str, Any]]:
    """Yields a record for each of VARIANTS with the largest batch that fits.

    Args:
      case: the search starts with its batch.
      budget: bytes.

    Raises:
      ValueError: if case.batch does not fit, or the backend does not report the memory.
    """
    first = None
    for changes in VARIANTS:
        one = replace(case, **changes)

        def need(batch: int, one: Case = one) -> int:
            return step_bytes(replace(one, batch=batch))

        batch, used = largest_batch(need, case.batch, jax.device_count(), budget)
        first = first or batch
        yield {
            **vars(replace(one, batch=batch)),
            "budget_mbytes": budget / 1e6,
            "mbytes": round(used / 1e6, 1),
            "batch_ratio_to_first": round(batch / first, 3),
        }
