"""The command line that every experiment shares."""

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import tyro

from bnnjax.config import Config

WRONG_INPUT = 2


def fail(program: str, sentence: str) -> NoReturn:
    """Prints one sentence to stderr and exits with code 2."""
    print(f"{program}: {sentence}", file=sys.stderr)
    sys.exit(WRONG_INPUT)


def _sentence(box: str) -> str:
    """Returns what the first part of one of tyro's boxed error messages says, as one line."""
    words: list[str] = []
    for line in box.splitlines()[1:]:
        text = line.strip("│╭╮╰╯ ")
        if text.startswith("─"):
            break
        words.append(text)
    return " ".join(" ".join(words).split())


def parse(defaults: Config, description: str, program: str, arguments: Sequence[str]) -> Config:
    """Returns the configuration that the arguments make of the defaults; exits with 2 if they are wrong."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(Config, prog=program, description=description, default=defaults, args=arguments)
    except SystemExit as stop:
        if not stop.code:
            raise
        fail(program, _sentence(complaint.getvalue()))
    except ValueError as error:
        fail(program, str(error))


def main(defaults: Config, description: str) -> NoReturn:
    """Runs an experiment: parses the command line, trains, reports, exits.

    Exit codes: 0 done or stopped by a signal with everything saved, 2 wrong input, 3 a loss that is not
    finite.
    """
    program = Path(sys.argv[0]).name
    config = parse(defaults, description, program, sys.argv[1:])
    # XLA and TFDS talk on stderr when they load, which is kept for what the user must know.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from rich.console import Console

    from bnnjax.run import execute, prepare

    try:
        prepared = prepare(config)
    except ValueError as error:
        fail(program, str(error))
    sys.exit(execute(prepared, Console()))
