"""The command line of every experiment: parses arguments, checks them, runs the work, exits."""

import contextlib
import dataclasses
import gc
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    NoReturn,
    TypeVar,
    get_origin,
    get_type_hints,
)

import tyro

from bnnjax.cli.refusal import (
    choose,
    end_of,
    ends_with_its_reader,
    fail,
    file_sentence,
    is_text,
    unknown,
)
from bnnjax.runtime.exit_codes import INTERRUPTED, WRONG_INPUT
from bnnjax.runtime.huge_pages import restart_with_huge_pages
from bnnjax.runtime.numerics import check_environment
from bnnjax.runtime.signals import end_at_once

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")
Work = Callable[["Console"], int]  # prints to the console and returns the exit code


class WorkError(Exception):
    """Ends a command's work with one sentence on stderr and an exit code."""

    def __init__(self, sentence: str, code: int = WRONG_INPUT) -> None:
        super().__init__(sentence)
        self.code = code


def flags(config: Any, prefix: str = "--") -> Iterator[str]:
    """Yields the flags of a configuration; positional and suppressed fields have none."""
    hints = get_type_hints(type(config), include_extras=True)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        hint = hints[field.name]
        if get_origin(hint) is Annotated:
            # An explicit name, as for --from, which is a keyword of Python.
            names = (getattr(annotation, "name", None) for annotation in hint.__metadata__)
            yield from (prefix + name for name in names if name)
            continue
        if dataclasses.is_dataclass(value):
            yield from flags(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name.replace("_", "-")


def _is_text(line: str) -> bool:
    return bool(line.strip("─╰╯-"))


def _sentence(box: str) -> str:
    """Returns the first paragraph of one of tyro's boxed error messages, as one line.

    If the terminal's encoding lacks box characters, tyro draws boxes with hyphens.
    """
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip("│ ") for line in box.splitlines()[1:]]
    text = " ".join(takewhile(_is_text, dropwhile(lambda line: not _is_text(line), lines)))
    text = re.sub(r"^Error parsing (?!-)\S+: ", "", text)
    text = re.sub(r"^Error parsing (-\S+): ", r"\1: ", text)
    return re.sub(r"no type matching (?:\{None\}\|)?(\S+) could be .* \[(.*)\]\.$", r"\2 is not \1", text)


def _at_home(value: Any) -> Any:
    """Returns a configuration whose paths have no ~ for a home directory."""
    if isinstance(value, Path):
        return value.expanduser()
    if isinstance(value, tuple):
        return tuple(map(_at_home, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return dataclasses.replace(value, **{name: _at_home(getattr(value, name)) for name in names})
    return value


def parse(defaults: T, description: str, program: str, arguments: Sequence[str]) -> T:
    """Returns the defaults as changed by the arguments; exits with 2 if these are wrong."""
    for text in (*arguments, os.getcwd()):
        if not is_text(text):
            fail(program, f"{text!a} has bytes that are no text in this locale; give another name")

    def from_flags() -> tuple[T, list[str]]:
        return tyro.cli(
            type(defaults),
            prog=program,
            description=description,
            default=defaults,
            args=arguments,
            return_unknown_args=True,
        )

    try:
        with contextlib.redirect_stderr(io.StringIO()):
            config, surplus = from_flags()
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        # Parsed again for a terminal so wide that no line of the message is broken.
        os.environ["COLUMNS"] = "1000000"
        complaint = io.StringIO()
        with contextlib.redirect_stderr(complaint), contextlib.suppress(SystemExit):
            from_flags()
        fail(program, _sentence(complaint.getvalue()))
    if surplus:
        kind = "flag" if surplus[0].startswith("-") else "argument"
        fail(program, unknown(kind, surplus[0], flags(defaults)))
    try:
        return _at_home(config)
    except RuntimeError as error:  # there is no such home
        fail(program, str(error))


def _make_console() -> "Console":
    """Returns the console of stdout.

    Characters that its encoding lacks are printed as ?; once its reader is gone it is quiet.
    """
    from rich.console import Console

    class OfStdout(Console):
        def on_broken_pipe(self) -> None:
            with contextlib.suppress(SystemExit):
                super().on_broken_pipe()  # so that Python does not try again at exit

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return OfStdout()


def main(
    defaults: T,
    description: str,
    prepare: Callable[[T], Work],
    program: str | None = None,
    arguments: Sequence[str] | None = None,
) -> NoReturn:
    """Runs an experiment: parses the command line, checks everything, works, exits.

    Args:
      defaults: the configuration that the command line changes.
      description: of the experiment, for --help.
      prepare: returns the work of a configuration; its ValueErrors and OSErrors count as wrong input.
      program: its name in messages, by default its file name.
      arguments: by default those of this process.

    Exit codes: 0 done or stopped by a signal with everything saved, 1 a bug of bnnjax, 2 wrong input, 3 a
    loss that is not finite, 4 a file that cannot be written, 6 another process of the run was lost, 7 data
    that cannot be read on, 130 stopped by a signal while there was nothing to save.
    """
    end_at_once()
    # Tracing makes a million small objects that stay; collecting garbage among them takes half a second.
    gc.set_threshold(100_000)
    program = Path(sys.argv[0]).name if program is None else program
    try:
        try:
            with ends_with_its_reader():
                config = parse(
                    defaults, description, program, sys.argv[1:] if arguments is None else arguments
                )
            # XLA and TFDS log on stderr when they load, which is reserved for what the user must know.
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
            check_environment(os.environ)
            work = prepare(config)
        except OSError as error:
            fail(program, file_sentence(error))
        except ValueError as error:
            fail(program, str(error))
        sys.exit(work(_make_console()))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except WorkError as error:
        fail(program, str(error), error.code)
    except Exception as error:
        fail(program, *end_of(error))


@dataclass(frozen=True, kw_only=True)
class Experiment(Generic[T]):
    """An experiment, to run as a subcommand or as a script."""

    description: str  # for --help; the first line is a summary
    defaults: T
    prepare: Callable[[T], Work]  # see `main`

    def run(self, program: str, arguments: Sequence[str]) -> NoReturn:
        """Runs it as a subcommand."""
        main(self.defaults, self.description, self.prepare, program, arguments)

    def run_as_script(self) -> NoReturn:
        """Runs it with the arguments of this process, which may restart with huge pages."""
        restart_with_huge_pages()
        main(self.defaults, self.description, self.prepare)


def run_one_of(
    experiments: Mapping[str, Experiment[Any]], kind: str, program: str, arguments: Sequence[str]
) -> NoReturn:
    """Runs the experiment that the first argument names."""
    choices = {name: experiment.description.splitlines()[0] for name, experiment in experiments.items()}
    name, rest = choose(program, kind, arguments, choices)
    experiments[name].run(f"{program} {name}", rest)
