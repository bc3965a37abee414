"""A run directory belongs to one process at a time, and its lock does not outlive the process."""

import errno
import fcntl
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import Process, Start, finish

from bnnjax.runtime.lock import LOCK, hold

Script = Callable[..., Process]


@pytest.fixture
def script(start: Start) -> Script:
    """script(code, *arguments): starts Python on code that has `hold`, `Path` and `sys`."""
    given = "import sys; from pathlib import Path; from bnnjax.runtime.lock import hold"
    return lambda code, *arguments: start("-c", f"{given}\n{code}", *arguments)


HOLD = "with hold(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"


def test_a_held_directory_is_refused_with_its_holders_name(script: Script, tmp_path: Path) -> None:
    with script(HOLD, tmp_path) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        message = rf"{tmp_path} is in use by process {other.pid} on {socket.gethostname()}; choose another"
        with pytest.raises(ValueError, match=message), hold(tmp_path):
            pass
        finish(other)
    with hold(tmp_path):
        message = f"in use by process {os.getpid()} on"
        with pytest.raises(ValueError, match=message), hold(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_killed_holder_holds_nothing(script: Script, tmp_path: Path) -> None:
    with script(HOLD, tmp_path) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        other.kill()
    assert (tmp_path / LOCK).exists()
    with hold(tmp_path):
        assert (tmp_path / LOCK).read_text() == f"process {os.getpid()} on {socket.gethostname()}"
    assert list(tmp_path.iterdir()) == []


def test_what_was_made_for_nothing_is_removed_and_what_is_used_stays(tmp_path: Path) -> None:
    with hold(tmp_path / "a" / "b" / "c"):
        pass
    assert list(tmp_path.iterdir()) == []
    with hold(tmp_path / "a" / "b"):
        (tmp_path / "a" / "file").write_text("")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["file"]


def test_a_lock_on_a_file_that_its_holder_has_removed_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, calls = fcntl.flock, 0

    def after_the_other_has_ended(descriptor: int, operation: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            (tmp_path / LOCK).unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", after_the_other_has_ended)
    with hold(tmp_path):
        assert calls == 2
        with pytest.raises(ValueError, match="is in use by"), hold(tmp_path):
            pass


def test_processes_that_come_and_go_are_never_in_a_directory_together(script: Script, tmp_path: Path) -> None:
    """While it holds the lock, a process increments a number in a way that loses concurrent increments."""
    code = """
count, had = Path(sys.argv[2]), 0
for _ in range(1000):
    try:
        with hold(Path(sys.argv[1])):
            before = int(count.read_text())
            count.write_text(str(before + 1))
            had += 1
    except ValueError:
        pass
print(had)
"""
    (tmp_path / "count").write_text("0")
    processes = [script(code, tmp_path / "place" / "run", tmp_path / "count") for _ in range(3)]
    had = [int(finish(process).stdout) for process in processes]
    assert sum(had) == int((tmp_path / "count").read_text()) > 0


def test_a_file_system_without_locks_is_told_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with hold(tmp_path):
        pass
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        line
        == f"{tmp_path} cannot be locked (No locks available): a second process there would not be refused"
    )


def test_a_directory_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file is a file; choose another --workdir"), hold(tmp_path / "file"):
        pass
    message = r"file/run cannot be written: Not a directory"
    with pytest.raises(ValueError, match=message), hold(tmp_path / "file" / "run"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
