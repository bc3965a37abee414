"""Communication between the processes of a run; it costs nothing in a run of one process.

Every function but `is_first` is a collective: all processes call it, in the same order.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

LONGEST_SENTENCE = 2000  # bytes of an error message that other processes get

T = TypeVar("T")


class OtherProcessError(ValueError):
    """An error of another process."""


def is_first() -> bool:
    """Returns whether this is process 0, the only one that prints and writes files other than arrays."""
    return jax.process_index() == 0


def gather(values: Sequence[int]) -> np.ndarray:
    """Returns the values of all processes, int64 [processes, values]; each must fit into 32 bits."""
    own = np.asarray(values, np.int32)
    return np.asarray(multihost_utils.process_allgather(own), np.int64).reshape(jax.process_count(), len(own))


def as_first(value: int) -> int:
    """Returns process 0's value."""
    return int(gather([value])[0, 0])


def tree_as_first(tree: Any) -> Any:
    """Returns process 0's tree of arrays; shapes are the same in all processes."""
    return tree if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(tree)


def raise_together(error: Exception | None) -> None:
    """Raises this process's error, or an OtherProcessError if only another process has one."""
    if jax.process_count() > 1:
        own = np.zeros(LONGEST_SENTENCE, np.uint8)
        text = b"" if error is None else (str(error) or type(error).__name__).encode()[:LONGEST_SENTENCE]
        own[: len(text)] = np.frombuffer(text, np.uint8)
        told = [
            bytes(row).rstrip(b"\0").decode(errors="replace")
            for row in multihost_utils.process_allgather(own)
        ]
        for process, sentence in enumerate(told):
            if error is None and sentence:
                raise OtherProcessError(f"process {process}: {sentence}" if process else sentence)
    if error is not None:
        raise error


@contextmanager
def together() -> Iterator[None]:
    """Makes a block fail in all processes if it fails in one; the block must not contain a collective."""
    error = None
    try:
        yield
    except Exception as found:
        error = found
    raise_together(error)


def in_turn(work: Callable[[], T]) -> T:
    """Returns the result of `work`, which process 0 does first, then all others at once.

    So the others find what process 0 has downloaded or made.  An error in one is raised in all.
    """
    with together():
        if is_first():
            done = work()
    with together():
        if not is_first():
            done = work()
    return done
