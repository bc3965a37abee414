"""Processes that tests start: limited in time, and killed with the process that started them."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

LIMIT = 100.0  # seconds; less than a test has, so that its process is named before the test is
# Asks the kernel to kill the process when whoever started it ends (PR_SET_PDEATHSIG, SIGKILL).
WITH_ITS_PARENT = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"

Process = subprocess.Popen[str]
Finished = subprocess.CompletedProcess[str]


class Start(Protocol):
    """Starts Python: start(script, *arguments, cwd=folder, NAME=value); NAME=None: without that variable."""

    def __call__(self, *arguments: object, cwd: Path | None = None, **variables: str | None) -> Process: ...


class Run(Protocol):
    """Runs Python to its end, in at most `limit` seconds; arguments as for `Start`."""

    def __call__(
        self, *arguments: object, cwd: Path | None = None, limit: float = LIMIT, **variables: str | None
    ) -> Finished: ...


def start_python(arguments: tuple[object, ...], environment: dict[str, str], cwd: Path | None) -> Process:
    command = [sys.executable, "-ISc", WITH_ITS_PARENT, sys.executable, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, env=environment, cwd=cwd, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )


def finish(process: Process, limit: float = LIMIT) -> Finished:
    """Waits for its end; fails with what it has printed if that takes longer."""
    try:
        output, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        raise AssertionError(f"not finished in {limit:g} s; it printed:\n{output}\n{errors}") from None
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def is_there(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def modules_loaded(run: Run, code: str, names: str) -> list[str]:
    """Returns which of these modules, with spaces between, a process has loaded after this code."""
    done = run("-c", f"{code}\nimport sys; print(*{set(names.split())} & set(sys.modules))")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def wait_until(
    holds: Callable[[], bool], *processes: Process, limit: float = LIMIT, every: float = 0.005
) -> None:
    """Waits for an effect of processes; fails if one of them ends before, or after `limit` seconds."""
    until = time.monotonic() + limit
    while not holds():
        for process in processes:
            if process.poll() is not None:
                raise AssertionError(f"ended with {process.returncode} too soon: {process.communicate()}")
        assert time.monotonic() < until, f"waited for {limit:g} s in vain"
        time.sleep(every)
