"""Runs that are killed or told to stop: the same command goes on and ends with the same bits."""

import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from runs import (
    EPOCHS,
    STEPS,
    TINY,
    Run,
    Start,
    assert_same_run,
    checkpoint_is_there,
    kill,
    last_step,
    records,
    unfinished_saves,
    wait_until,
)

pytestmark = pytest.mark.faults

KILLS = 10  # for each of the two runs


@pytest.fixture(scope="session")
def life(run: Run, reference: Path, tmp_path_factory: pytest.TempPathFactory) -> float:
    """Seconds that a run takes when everything is compiled; it ends with the bits of the first."""
    workdir = tmp_path_factory.mktemp("again") / "run"
    began = time.monotonic()
    done = run(TINY, "--workdir", workdir)
    assert (done.returncode, done.stderr) == (0, "")
    assert_same_run(workdir, reference)
    return time.monotonic() - began


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
        output, errors = process.communicate()
        assert errors == ""
        assert ("going on from step" in output) <= (f"going on from step {saved}\n" in output)
        assert last_step(workdir) >= saved
        if process.returncode == 0:  # it was faster
            assert_same_run(workdir, reference)
            number += 1
            workdir = tmp_path / str(number)
        else:
            kills += 1
    saved, is_finished = last_step(workdir), (workdir / "summary.json").exists()
    done = run(TINY, "--workdir", workdir)
    assert (done.returncode, done.stderr) == (0, "")
    assert is_finished or (f"going on from step {saved}\n" in done.stdout) == (saved > 0)
    assert_same_run(workdir, reference)
    names = {path.name for folder in (workdir, workdir / "checkpoints") for path in folder.iterdir()}
    assert [name for name in names if "tmp" in name or name == ".lock"] == []


def test_a_run_killed_in_an_epoch_and_in_saves_ends_with_the_same_bits(
    start: Start, run: Run, reference: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    # In the middle of the second epoch.
    process = start(TINY, "--workdir", workdir)
    wait_until(checkpoint_is_there(workdir, STEPS), process)
    time.sleep(0.15)
    kill(process)
    assert len(records(workdir)) == 1
    # In saves: as soon as Orbax has made its temporary directory, and once some of the data is written.
    for is_writing in (
        lambda: unfinished_saves(workdir) != [],
        lambda: any(  # also while it is renamed
            "tmp" in folder and folder.endswith("/d") and files
            for folder, _, files in os.walk(workdir / "checkpoints")
        ),
    ):
        for leftover in unfinished_saves(workdir):
            shutil.rmtree(leftover)
        shutil.copytree(workdir, tmp_path / "before")
        while not unfinished_saves(workdir):
            shutil.rmtree(workdir)  # the save before was finished in time
            shutil.copytree(tmp_path / "before", workdir)
            process = start(TINY, "--workdir", workdir)
            wait_until(is_writing, process, every=0.0005)
            kill(process)
        shutil.rmtree(tmp_path / "before")
    # The record of the epoch whose save was cut off is cut off too, and the run goes on to its end.
    done = run(TINY, "--workdir", workdir)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"going on from step {STEPS}" in done.stdout
    assert_same_run(workdir, reference)


def test_a_run_stopped_by_signals_says_how_to_resume_and_ends_with_the_same_bits(
    start: Start, run: Run, reference: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    for number, after in ((signal.SIGTERM, STEPS), (signal.SIGINT, 2 * STEPS)):
        process = start(TINY, "--workdir", workdir)
        wait_until(checkpoint_is_there(workdir, after), process)
        time.sleep(0.1)
        process.send_signal(number)
        output, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")
        last = output.splitlines()[-1]
        assert last.startswith(f"stopped by {number.name} at step ")
        assert last.endswith(
            f" of {EPOCHS * STEPS}; everything is saved in {workdir}, and the same command goes on from there"
        )
        step = int(last.split()[5])
        assert step >= after
        assert checkpoint_is_there(workdir, step)()
        assert not (workdir / "summary.json").exists()
    done = run(TINY, "--workdir", workdir)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"going on from step {step}\n" in done.stdout
    assert_same_run(workdir, reference)
