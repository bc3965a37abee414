"""A clock that jumps changes labels, and nothing else."""

from pathlib import Path

import pytest
from processes import Run, Start, wait_until
from runs import ROOT, STEPS, assert_same_run, checkpoint_is_there, kill, last_step

from bnnjax.report.run.tensorboard import event_writer

pytestmark = pytest.mark.faults

HOUR = 3600
SCRIPT = ROOT / "tests" / "helpers" / "jumping_clock.py"


@pytest.mark.slow
def test_a_clock_that_jumps_in_the_middle_changes_no_bit(
    start: Start, run: Run, reference: Path, tmp_path: Path
) -> None:
    """An hour forward and back early in the run, an hour back and forward when it resumes."""
    workdir = tmp_path / "run"
    process = start(SCRIPT, "--workdir", workdir, JUMP=str(HOUR))
    wait_until(checkpoint_is_there(workdir, STEPS), process)
    kill(process)
    saved = last_step(workdir)
    done = run(SCRIPT, "--workdir", workdir, JUMP=str(-HOUR))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"resuming from step {saved}\n" in done.stdout
    assert_same_run(workdir, reference)


def test_event_files_are_read_in_the_order_of_their_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    for now in (2_000_000_000.0, 2_000_000_000.5, 1_999_996_400.0, 1_999_999_999.0, 2_000_003_600.0):
        monkeypatch.setattr("time.time", lambda now=now: now)
        with event_writer(tmp_path) as write:
            write({"step": 1, "loss": 1.0})
        (new,) = {path.name for path in tmp_path.iterdir()} - {*names}
        names.append(new)
    assert names == sorted(names)
