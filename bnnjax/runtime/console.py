"""Sentences for the user, on stdout and on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def say(console: Console, sentence: str) -> None:
    """Prints a sentence on the console as it is, on one line."""
    console.print(sentence, soft_wrap=True, markup=False, highlight=False)


def complain(sentence: str) -> None:
    """Prints a sentence on stderr."""
    from rich.console import Console

    Console(stderr=True).print(sentence, soft_wrap=True, markup=False, highlight=False)
