"""Standard output that cannot take what is printed."""

import signal
from pathlib import Path

import pytest
from processes import Run, Start
from runs import TINY, records

pytestmark = pytest.mark.faults

SHORT = ("--epochs", 1, "--train-examples", 80)


@pytest.mark.slow
def test_a_run_goes_on_without_its_reader(start: Start, tmp_path: Path) -> None:
    with start(TINY, *SHORT, "--workdir", tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (0, "")
    assert (tmp_path / "summary.json").exists()
    assert [record["epoch"] for record in records(tmp_path)] == [1]


@pytest.mark.slow
def test_an_encoding_without_some_characters_shows_others(run: Run, tmp_path: Path) -> None:
    done = run(TINY, *SHORT, "--workdir", tmp_path, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    (row,) = (line for line in done.stdout.splitlines() if "accuracy under noise" in line)
    assert row.split()[-2:] == ["?", "|"]  # a dash


def test_help_ends_with_its_reader(start: Start) -> None:
    with start(TINY, "--help") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == -signal.SIGPIPE
