"""Rejection of wrong input: one sentence on stderr and an exit code; and the choice of subcommands.

Nothing here takes long to import, so that lists of commands and errors in names appear at once.
"""

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

from bnnjax.runtime.bugs import bug_sentence
from bnnjax.runtime.console import complain
from bnnjax.runtime.exit_codes import FAILED, NOT_WRITTEN, STOPPED_BY_DATA, WRONG_INPUT

BACKENDS = "xla_bridge.py"  # where JAX starts its backends


def fail(program: str, sentence: str, code: int = WRONG_INPUT) -> NoReturn:
    """Prints one sentence, on one line, to stderr and exits."""
    complain(f"{program}: {' '.join(sentence.splitlines())}")
    sys.exit(code)


def is_text(name: str) -> bool:
    """Returns whether a name can be written into reports: it may have bytes that no character stands for."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def end_of(error: Exception) -> tuple[str, int]:
    """Returns the sentence and the exit code that an error ends a command with which has begun to work."""
    from bnnjax.data.dataset import DataError  # loads JAX, which has been loaded by whatever raises it

    intact = "what was saved before is intact; rerun the command to resume"
    if isinstance(error, DataError):
        return f"stopped: {str(error).removesuffix('.')}; {intact}", STOPPED_BY_DATA
    if isinstance(error, OSError):
        return f"stopped: {file_sentence(error)}; {intact}", NOT_WRITTEN
    text = str(error)
    if Path(traceback.extract_tb(error.__traceback__)[-1].filename).name == BACKENDS:
        platforms = os.environ.get("JAX_PLATFORMS", "")
        return f"JAX finds no device where JAX_PLATFORMS is {platforms!r}: {text or 'none'}", WRONG_INPUT
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
        return f"stopped, as the memory does not suffice: {text}; {intact}", WRONG_INPUT
    return bug_sentence(error), FAILED


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
