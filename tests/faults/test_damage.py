"""Damaged checkpoints are found out, told, kept, and made good, in run directories that have moved.

`tests/train/test_checkpoint.py` has more kinds of damage.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from runs import EPOCHS, STEPS, TINY, Run, assert_same_run, contents

pytestmark = pytest.mark.faults


def truncate_files(checkpoint: Path) -> None:
    for path in checkpoint.rglob("d/*"):
        path.write_bytes(path.read_bytes()[:-20])


def flip_a_bit(checkpoint: Path) -> None:
    path = max(checkpoint.rglob("d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate_files, flip_a_bit])
def test_a_damaged_checkpoint_is_told_kept_and_made_good(
    run: Run, reference: Path, finished: Path, damage: Callable[[Path], None]
) -> None:
    (finished / "summary.json").unlink()
    last = finished / "checkpoints" / str(EPOCHS * STEPS)
    damage(last)
    before = contents(last)
    done = run(TINY, "--workdir", finished)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"checkpoint {EPOCHS * STEPS} is damaged (")
    assert f"going on from step {(EPOCHS - 1) * STEPS}\n" in done.stdout
    (moved,) = (finished / "damaged").iterdir()
    assert contents(moved) == before
    assert_same_run(finished, reference)


def test_with_every_checkpoint_damaged_the_run_says_so_and_begins_again(
    run: Run, reference: Path, finished: Path
) -> None:
    (finished / "summary.json").unlink()
    for checkpoint in list((finished / "checkpoints").iterdir()):
        flip_a_bit(checkpoint)
    done = run(TINY, "--workdir", finished)
    assert (done.returncode, done.stderr) == (0, "")
    assert "there is no checkpoint to go on from; starting at the beginning\n" in done.stdout
    assert len(list((finished / "damaged").iterdir())) == 2
    assert_same_run(finished, reference)
