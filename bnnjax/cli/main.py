"""The command line that every experiment shares."""

import contextlib
import dataclasses
import errno
import gc
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar, get_origin, get_type_hints

import tyro

from bnnjax.config.training import Config
from bnnjax.runtime.exit_codes import INTERRUPTED, NOT_WRITTEN, WRONG_INPUT

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")
Work = Callable[["Console"], int]  # prints to the console and returns the exit code


def fail(program: str, sentence: str, code: int = WRONG_INPUT) -> NoReturn:
    """Prints one sentence, on one line, to stderr and exits."""
    print(f"{program}: {' '.join(sentence.splitlines())}", file=sys.stderr)
    sys.exit(code)


def file_sentence(error: OSError) -> str:
    """Returns which file an error is about, and what the system says of it."""
    return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)


def flags(config: Any, prefix: str = "--") -> Iterator[str]:
    """Yields the flags of a configuration; what is suppressed on the command line has none."""
    hints = get_type_hints(type(config), include_extras=True)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if get_origin(hints[field.name]) is Annotated:
            continue
        if dataclasses.is_dataclass(value):
            yield from flags(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name.replace("_", "-")


def _sentence(box: str) -> str:
    """Returns what the first paragraph of one of tyro's boxed error messages says, as one line."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip("│ ") for line in box.splitlines()[1:]]
    end = next(place for place, line in enumerate(lines) if not line.strip("─╰╯"))
    text = re.sub(r"^Error parsing (?!-)\S+: ", "", " ".join(lines[:end]))
    text = re.sub(r"^Error parsing (-\S+): ", r"\1: ", text)
    return re.sub(r"no type matching (?:\{None\}\|)?(\S+) could be .* \[(.*)\]\.$", r"\2 is not \1", text)


def parse(defaults: T, description: str, program: str, arguments: Sequence[str]) -> T:
    """Returns the configuration that the arguments make of the defaults; exits with 2 if they are wrong."""

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
            config, unknown = from_flags()
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        # Once more, on paper so wide that no line of the message is broken; nothing else will be printed.
        os.environ["COLUMNS"] = "1000000"
        complaint = io.StringIO()
        with contextlib.redirect_stderr(complaint), contextlib.suppress(SystemExit):
            from_flags()
        fail(program, _sentence(complaint.getvalue()))
    if unknown:
        kind, allowed = "flag" if unknown[0].startswith("-") else "argument", list(flags(defaults))
        close = get_close_matches(unknown[0].partition("=")[0], allowed, 1)
        guess = f", perhaps {close[0]}" if close else ""
        fail(program, f"unknown {kind} {unknown[0]}{guess}; allowed are {', '.join(allowed)}")
    return config


def _print_raw(text: str, console: "Console") -> int:
    console.out(text, end="", highlight=False)
    return 0


@contextlib.contextmanager
def _ends_with_its_reader() -> Iterator[None]:
    """Lets what the block prints, as --help, end this process without a word if nobody reads it."""
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        yield
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()
        signal.signal(signal.SIGPIPE, before)


def _make_console() -> "Console":
    """Returns the console of stdout.

    Characters that its encoding lacks are printed as ?; that its reader is gone is an OSError.
    """
    from rich.console import Console

    class OfStdout(Console):
        def on_broken_pipe(self) -> None:
            with contextlib.suppress(SystemExit):
                super().on_broken_pipe()  # so that Python does not try again when it ends
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE), "standard output")

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return OfStdout()


def prepare_run(config: Config) -> Work:
    """Checks a training run and returns it, ready to be executed."""
    if config.print_launch is not None:
        from bnnjax.cli.launch import launch_script

        script = launch_script(config.print_launch, config, sys.argv, Path.cwd())
        return partial(_print_raw, script)
    if config.is_distributed:
        from bnnjax.runs.distributed import prepare_together

        return prepare_together(config)
    from bnnjax.runs.train import execute, prepare

    return partial(execute, prepare(config))


def main(defaults: T, description: str, prepare: Callable[[T], Work]) -> NoReturn:
    """Runs an experiment: parses the command line, checks everything, works, exits.

    Args:
      defaults: what the command line changes.
      description: of the experiment, for --help.
      prepare: returns the work that a configuration means; its ValueErrors and OSErrors are wrong input.

    Exit codes: 0 done or stopped by a signal with everything saved, 2 wrong input, 3 a loss that is not
    finite, 4 a file that cannot be written, 6 another process of the run was lost, 130 interrupted by the
    keyboard while there was nothing to save.
    """
    # Tracing makes a million small objects that stay: looking for garbage among them takes half a second.
    gc.set_threshold(100_000)
    program = Path(sys.argv[0]).name
    with _ends_with_its_reader():
        config = parse(defaults, description, program, sys.argv[1:])
    # XLA and TFDS talk on stderr when they load, which is kept for what the user must know.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        try:
            work = prepare(config)
        except OSError as error:
            fail(program, file_sentence(error))
        except ValueError as error:
            fail(program, str(error))
        try:
            sys.exit(work(_make_console()))
        except OSError as error:
            intact = "what was saved before is intact, and the same command goes on from there"
            fail(program, f"stopped: {file_sentence(error)}; {intact}", NOT_WRITTEN)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
