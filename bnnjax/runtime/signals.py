"""What SIGINT and SIGTERM do to a command while nothing in it asks to be told of them.

Python's own answer to SIGINT, an exception wherever it happens to be, is lost in a callback of XLA's and
aborts the process in others.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from bnnjax.runtime.exit_codes import INTERRUPTED

STOPS = (signal.SIGINT, signal.SIGTERM)
SHOW_CURSOR = b"\x1b[?25h"  # which a progress bar hides


def _end(number: int, frame: object) -> NoReturn:
    if os.isatty(1):
        os.write(1, SHOW_CURSOR)
    os.write(2, f"stopped at once by {signal.Signals(number).name}\n".encode())
    os._exit(INTERRUPTED)


def end_at_once() -> None:
    """Lets both signals end this process at once, with code 130; to be called first of all by a command."""
    for number in STOPS:
        signal.signal(number, _end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def hold_back() -> None:
    """Keeps both signals until `end_at_once`, over a start of Python, which they would end in a traceback."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)


@contextmanager
def interrupting() -> Iterator[None]:
    """Lets both signals raise KeyboardInterrupt in the block, for what must be cleaned up behind it."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
