"""What the processes of a run tell each other; for a run of one process all of it is free.

Every function but `is_first` is a collective: all processes call it, in the same order.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

LONGEST_SENTENCE = 2000  # bytes that are told of another process's error

T = TypeVar("T")


class OtherProcessError(ValueError):
    """What another process has found wrong."""


def is_first() -> bool:
    """Returns whether this is process 0, which alone prints and writes what is no array."""
    return jax.process_index() == 0


def gather(values: Sequence[int]) -> np.ndarray:
    """Returns the values of all processes, int64 [processes, values]; each must fit into 32 bits."""
    own = np.asarray(values, np.int32)
    return np.asarray(multihost_utils.process_allgather(own), np.int64).reshape(jax.process_count(), len(own))


def as_first(value: int) -> int:
    """Returns the value that process 0 has."""
    return int(gather([value])[0, 0])


def tree_as_first(tree: Any) -> Any:
    """Returns a tree of arrays, of the same shapes in all processes, as process 0 has it."""
    return tree if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(tree)


def raise_together(error: Exception | None) -> None:
    """Raises this process's error, if it has one, or else what another has: OtherProcessError."""
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
    """Ends a block with an error in all processes if it does in one; there is no collective in it."""
    error = None
    try:
        yield
    except Exception as found:
        error = found
    raise_together(error)


def in_turn(work: Callable[[], T]) -> T:
    """Returns what the work gives, which process 0 does first, then all others at once.

    So that what it downloads or makes is there for the others.  An error of any is raised in all.
    """
    with together():
        if is_first():
            done = work()
    with together():
        if not is_first():
            done = work()
    return done
