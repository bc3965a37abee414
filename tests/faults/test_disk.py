"""Full or read-only disks: a sentence, an exit code, nothing lost, the same bits later."""

import errno
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_experiment
from mounts import may_mount
from processes import Process, Run, Start, finish, wait_until
from runs import STEPS, TINY, assert_same_run, checkpoint_is_there, contents, last_step, lock_is_held

from bnnjax.runs.saved import read_trained

pytestmark = pytest.mark.faults

KB = 1000
Mount = Callable[..., None]
Fill = Callable[[Process, int], None]
Disk = tuple[Path, Fill, Callable[[], None], str]


def limited_disk(place: Path, mount: Mount) -> Disk:
    """Limits file sizes to the space that is left, which every user can do."""

    def fill(process: Process, left: int) -> None:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (left, resource.RLIM_INFINITY))

    return place, fill, lambda: None, os.strerror(errno.EFBIG)


def full_disk(place: Path, mount: Mount) -> Disk:
    """A file system of 8 MB with another file on it, which takes what is not left."""
    place.mkdir()
    mount(place, "-t", "tmpfs", "-o", "size=8m", "none")
    ballast = place / "ballast"

    def fill(process: Process, left: int) -> None:
        ballast.touch()
        with open(ballast, "r+b") as file:
            free = shutil.disk_usage(place).free + ballast.stat().st_size
            os.posix_fallocate(file.fileno(), 0, free - left)

    return place, fill, ballast.unlink, os.strerror(errno.ENOSPC)


@pytest.mark.slow
@pytest.mark.timeout(300)  # five runs
@pytest.mark.parametrize("make", [limited_disk, *([full_disk] if may_mount() else [])])
def test_a_full_disk_ends_a_run_with_a_sentence_and_it_goes_on_when_there_is_space(
    make: Callable[[Path, Mount], Disk], start: Start, run: Run, reference: Path, mount: Mount, tmp_path: Path
) -> None:
    place, fill, free, reason = make(tmp_path / "disk", mount)
    workdir = place / "run"

    def refusal(process: Process) -> str:
        done = finish(process)
        assert done.returncode == 4
        (line,) = done.stderr.splitlines()
        before, _, after = line.partition(f": {reason}; ")
        assert after == "what was saved before is intact; rerun the command to resume"
        start, _, file = before.partition(f" {workdir}/")
        assert start == "tiny_experiment.py: stopped:"
        assert not (workdir / "summary.json").exists()
        return file

    # There is space for records, but not for a second checkpoint.
    process = start(TINY, "--workdir", workdir)
    wait_until(checkpoint_is_there(workdir, STEPS), process)
    fill(process, 60 * KB)
    assert refusal(process).startswith("checkpoints/")
    saved = last_step(workdir)
    assert saved >= STEPS
    before = contents(workdir / "checkpoints" / str(saved))
    assert list((workdir / "checkpoints").glob("*tmp*")) == []
    free()
    # There is none for records.
    process = start(TINY, "--workdir", workdir)
    wait_until(lock_is_held(workdir), process)
    fill(process, 10)
    assert refusal(process) == "metrics.jsonl"
    assert contents(workdir / "checkpoints" / str(saved)) == before
    free()
    # There is none for the report.
    process = start(TINY, "--workdir", workdir)
    wait_until(lock_is_held(workdir), process)
    fill(process, 900 * KB)
    assert refusal(process) == "report.html"
    free()
    done = run(TINY, "--workdir", workdir)
    assert (done.returncode, done.stderr) == (0, "")
    assert_same_run(workdir, reference)


def test_a_full_disk_is_found_before_anything_is_compiled(start: Start, tmp_path: Path) -> None:
    process = start(TINY, "--workdir", tmp_path / "runs" / "run")
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1 * KB, resource.RLIM_INFINITY))
    done = finish(process)
    assert (done.returncode, done.stdout) == (2, "")
    place = tmp_path / "runs" / "run"
    assert done.stderr == f"tiny_experiment.py: work directory {place} cannot be written: File too large\n"
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_written_is_refused_before_anything_is_compiled(
    run: Run, finished: Path, make_read_only: Callable[[Path], None], tmp_path: Path
) -> None:
    (finished / "summary.json").unlink()
    before = contents(tmp_path)
    make_read_only(tmp_path)
    for workdir in (finished, tmp_path / "new" / "run"):
        done = run(TINY, "--workdir", workdir)
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        start, _, reason = line.partition(" cannot be written: ")
        assert start == f"tiny_experiment.py: work directory {workdir}"
        assert reason in ("Read-only file system", "Permission denied")
    # Its network can be used all the same.
    assert read_trained(finished, tiny_experiment.load(tiny_experiment.DEFAULTS)).params
    assert contents(tmp_path) == before
