"""Damaged checkpoints are detected, reported, kept and replaced, in run directories that have moved.

`tests/train/test_checkpoint.py` has more kinds of damage.  What is damaged in a cache is made again.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from processes import Run
from runs import EPOCHS, STEPS, TINY, assert_same_run, contents

pytestmark = pytest.mark.faults


def truncate_files(checkpoint: Path) -> None:
    for path in checkpoint.rglob("d/*"):
        path.write_bytes(path.read_bytes()[:-20])


def flip_a_bit(checkpoint: Path) -> None:
    path = max(checkpoint.rglob("d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [pytest.param(truncate_files, marks=pytest.mark.slow), flip_a_bit])
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
    assert f"resuming from step {(EPOCHS - 1) * STEPS}\n" in done.stdout
    (moved,) = (finished / "damaged").iterdir()
    assert contents(moved) == before
    assert_same_run(finished, reference)


@pytest.mark.slow
def test_with_every_checkpoint_damaged_the_run_says_so_and_begins_again(
    run: Run, reference: Path, finished: Path
) -> None:
    (finished / "summary.json").unlink()
    for checkpoint in list((finished / "checkpoints").iterdir()):
        flip_a_bit(checkpoint)
    done = run(TINY, "--workdir", finished)
    assert (done.returncode, done.stderr) == (0, "")
    assert "there is no checkpoint to resume from; starting at the beginning\n" in done.stdout
    assert len(list((finished / "damaged").iterdir())) == 2
    assert_same_run(finished, reference)


@pytest.mark.slow
def test_compiled_programs_that_were_cut_short_are_compiled_and_kept_again_without_a_word(
    run: Run, tmp_path: Path
) -> None:
    cache = tmp_path / "cache" / "bnnjax" / "xla"

    def trains(name: str) -> dict[str, int]:
        """Returns the sizes of what is kept after it."""
        done = run(TINY, "--workdir", tmp_path / name, "--epochs", 1, XDG_CACHE_HOME=str(tmp_path / "cache"))
        assert (done.returncode, done.stderr) == (0, "")
        return {path.name: path.stat().st_size for path in cache.iterdir()}

    kept = trains("first")
    assert any(name.startswith("jit_train_step-") for name in kept)
    for path in cache.iterdir():  # as a kill in the middle and a full disk leave them
        path.write_bytes(path.read_bytes()[: 0 if "figures" in path.name else 1000])
    again = trains("second")
    assert again.keys() == kept.keys()
    assert all(again[name] == pytest.approx(kept[name], rel=0.1) for name in kept)
