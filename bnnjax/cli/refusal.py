"""Rejection of wrong input: one sentence on stderr and an exit code; and the choice of subcommands.

Nothing here takes long to import, so that lists of commands and errors in names appear at once.
"""

import contextlib
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import NoReturn

from bnnjax.runtime.exit_codes import WRONG_INPUT


def fail(program: str, sentence: str, code: int = WRONG_INPUT) -> NoReturn:
    """Prints one sentence, on one line, to stderr and exits."""
    print(f"{program}: {' '.join(sentence.splitlines())}", file=sys.stderr)
    sys.exit(code)


def file_sentence(error: OSError) -> str:
    """Returns the file of an error and the system's message."""
    return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)


def unknown(kind: str, given: str, allowed: Iterable[str]) -> str:
    """Returns a sentence about an unknown name, with the closest name and all that are allowed."""
    names = list(allowed)
    close = get_close_matches(given.partition("=")[0], names, 1)
    guess = f", perhaps {close[0]}" if close else ""
    return f"unknown {kind} {given}{guess}; allowed are {', '.join(names)}"


@contextlib.contextmanager
def ends_with_its_reader() -> Iterator[None]:
    """Makes the block, such as --help, end this process silently if its output's reader is gone."""
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        yield
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()
        signal.signal(signal.SIGPIPE, before)


def choose(
    program: str,
    kind: str,
    arguments: Sequence[str],
    choices: Mapping[str, str],
    others: str = "",
    about: str = "",
) -> tuple[str, Sequence[str]]:
    """Returns the name that is the first argument, and the other arguments.

    Exits with 0 after --help, and with 2 and a sentence if there is no name or one that is not allowed.

    Args:
      program: its name in messages.
      kind: of the things that are named.
      arguments: of the command.
      choices: description in --help by name.
      others: what else may be named, in words; by default nothing.
      about: description of the program in --help.
    """
    listed = ", ".join(choices) + (f" and {others}" if others else "")
    if not arguments:
        fail(program, f"name a {kind}; allowed are {listed}")
    first, *rest = arguments
    if first in ("-h", "--help"):
        with ends_with_its_reader():
            print(_overview(program, kind, choices, others, about))
        sys.exit(0)
    if first.startswith("-"):
        fail(program, f"a {kind} must stand before {first}; allowed are {listed}")
    if first not in choices and not others:
        fail(program, unknown(kind, first, choices))
    return first, rest


def _overview(program: str, kind: str, choices: Mapping[str, str], others: str, about: str) -> str:
    """Returns the --help of a command whose first argument is a name."""
    name = kind.upper().replace(" ", "-")
    width = max(map(len, choices)) + 4
    rows = [
        f"  {choice:{width - 2}}" + text.replace("\n", "\n" + " " * width) for choice, text in choices.items()
    ]
    return "\n".join(
        [
            f"usage: {program} {name} ...",
            "",
            *([about, ""] if about else []),
            *rows,
            *([f"  or {others}"] if others else []),
            "",
            f"{program} {name} --help has more on each.",
        ]
    )
