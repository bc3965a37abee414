"""Runs that are killed or asked to stop resume with the same command, to the same bits."""

import signal
import time
from pathlib import Path

import numpy as np
import pytest
from processes import Run, Start, finish, wait_until
from runs import (
    EPOCHS,
    STEPS,
    TINY,
    assert_same_run,
    checkpoint_is_there,
    kill,
    last_step,
    lock_is_held,
    records,
    unfinished_saves,
)

pytestmark = pytest.mark.faults

KILLS = 4  # for each of the two runs
DYING = TINY.with_name("dying_experiment.py")


@pytest.fixture(scope="session")
def life(run: Run, reference: Path, tmp_path_factory: pytest.TempPathFactory) -> float:
    """Seconds that a run takes when everything is compiled; it ends with the bits of the first."""
    workdir = tmp_path_factory.mktemp("again") / "run"
    began = time.monotonic()
    done = run(TINY, "--workdir", workdir)
    assert (done.returncode, done.stderr) == (0, "")
    assert_same_run(workdir, reference)
    return time.monotonic() - began


@pytest.mark.slow
@pytest.mark.timeout(600)  # some 15 runs
@pytest.mark.parametrize("seed", range(2))
def test_a_run_killed_at_random_moments_ends_with_the_same_bits(
    seed: int, start: Start, run: Run, reference: Path, life: float, tmp_path: Path
) -> None:
    rng, kills, number = np.random.default_rng(seed), 0, 0
    workdir = tmp_path / "0"
    while kills < KILLS:
        moment, saved = life * rng.random(), last_step(workdir)
        process = start(TINY, "--workdir", workdir)
        time.sleep(moment)
        print(f"killed {moment:.3f} s after its start, with checkpoint {saved} there")  # seen if this fails
        process.kill()
        done = finish(process)
        assert done.stderr == ""
        assert ("resuming from step" in done.stdout) <= (f"resuming from step {saved}\n" in done.stdout)
        assert last_step(workdir) >= saved
        if done.returncode == 0:  # it was faster
            assert_same_run(workdir, reference)
            number += 1
            workdir = tmp_path / str(number)
        else:
            kills += 1
    saved, is_finished = last_step(workdir), (workdir / "summary.json").exists()
    done = run(TINY, "--workdir", workdir)
    assert (done.returncode, done.stderr) == (0, "")
    assert is_finished or (f"resuming from step {saved}\n" in done.stdout) == (saved > 0)
    assert_same_run(workdir, reference)
    names = {path.name for folder in (workdir, workdir / "checkpoints") for path in folder.iterdir()}
    assert [name for name in names if "tmp" in name or name == ".lock"] == []


def test_a_run_killed_in_an_epoch_ends_with_the_same_bits(
    start: Start, run: Run, reference: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    process = start(TINY, "--workdir", workdir)
    wait_until(checkpoint_is_there(workdir, STEPS), process)
    time.sleep(0.15)  # in the middle of the second
    kill(process)
    assert len(records(workdir)) == 1
    done = run(TINY, "--workdir", workdir)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"resuming from step {STEPS}" in done.stdout
    assert_same_run(workdir, reference)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["begun", "written"])
def test_a_run_killed_in_a_save_ends_with_the_same_bits(
    moment: str, run: Run, reference: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    killed = run(DYING, "--workdir", workdir, DIES=moment)
    assert (killed.returncode, killed.stderr) == (-signal.SIGKILL, "")
    (unfinished,) = unfinished_saves(workdir)
    assert any(path.is_file() for path in unfinished.rglob("d/*")) == (moment == "written")
    # The record of the epoch whose save was cut off is cut off too, and the run goes on to its end.
    assert (last_step(workdir), len(records(workdir))) == (STEPS, 2)
    done = run(TINY, "--workdir", workdir)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"resuming from step {STEPS}\n" in done.stdout
    assert_same_run(workdir, reference)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_training_has_begun_ends_a_run_at_once(
    number: signal.Signals, start: Start, run: Run, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    process = start(TINY, "--workdir", workdir, "--epochs", 1, "--train-examples", 80)
    wait_until(lock_is_held(workdir), process)
    process.send_signal(number)
    stopped = finish(process)
    assert (stopped.returncode, stopped.stderr) == (130, f"stopped at once by {number.name}\n")
    done = run(TINY, "--workdir", workdir, "--epochs", 1, "--train-examples", 80)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("number", "after"),
    [(signal.SIGTERM, STEPS), pytest.param(signal.SIGINT, 2 * STEPS, marks=pytest.mark.slow)],
)
def test_a_run_stopped_by_a_signal_says_how_to_resume_and_ends_with_the_same_bits(
    number: signal.Signals, after: int, start: Start, run: Run, reference: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    process = start(TINY, "--workdir", workdir)
    wait_until(checkpoint_is_there(workdir, after), process)
    time.sleep(0.1)
    process.send_signal(number)
    stopped = finish(process)
    assert (stopped.returncode, stopped.stderr) == (0, "")
    last = stopped.stdout.splitlines()[-1]
    assert last.startswith(f"stopped by {number.name} at step ")
    assert last.endswith(
        f" of {EPOCHS * STEPS}; everything is saved in {workdir}; rerun the command to resume"
    )
    step = int(last.split()[5])
    assert step >= after
    assert checkpoint_is_there(workdir, step)()
    assert not (workdir / "summary.json").exists()
    done = run(TINY, "--workdir", workdir)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"resuming from step {step}\n" in done.stdout
    assert_same_run(workdir, reference)
