"""Sentences for the user, on stdout and on stderr."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def say(console: Console, sentence: str) -> None:
    """Prints a sentence on the console as it is, on one line."""
    console.print(sentence, soft_wrap=True, markup=False, highlight=False)


def show(console: Console, table: Table) -> None:
    """Prints a table, wider than the console where its columns need that."""
    from rich.measure import Measurement

    needed = Measurement.get(console, console.options.update(width=10_000), table).minimum
    if needed > console.width:
        table.width = needed
    console.print(table, crop=False)


def complain(sentence: str) -> None:
    """Prints a sentence on stderr, if anybody can read it."""
    with contextlib.suppress(OSError):
        print(sentence, file=sys.stderr)
