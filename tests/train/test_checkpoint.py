"""Checkpoints on a real disk: written whole, read bit for bit, and checked for damage."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from bnnjax.train.checkpoint import SUMS, Checkpoints, MisfitError, digest
from bnnjax.train.state import RunState, initial_state


def state_of(seed: int) -> RunState:
    rng = np.random.default_rng(seed)
    params = {"conv": {"latent": rng.normal(size=(3, 3, 4, 8))}, "norm": {"gain": rng.normal(size=(8,))}}
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    params["norm"]["bias"] = jnp.array([-0.0, 0.0, 1e-40, -1e38, 1.0, 2.0, 3.0, 4.0])
    return initial_state(params, {"mean": jnp.ones(8) * seed}, optax.sgd(0.1, momentum=0.9))


def bits(tree: object) -> list[tuple[str, bytes]]:
    return [(str(leaf.dtype), np.asarray(leaf).tobytes()) for leaf in jax.tree.leaves(tree)]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Holds the checkpoints 1 and 2."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", print)
    for step in (1, 2):
        checkpoints.save(step, state_of(step))
    checkpoints.close()
    return tmp_path / "checkpoints"


@pytest.fixture
def opened(directory: Path, said: list[str]) -> Iterator[Callable[[], Checkpoints]]:
    every: list[Checkpoints] = []

    def opens() -> Checkpoints:
        every.append(Checkpoints(directory, said.append))
        return every[-1]

    yield opens
    for checkpoints in every:
        checkpoints.close()


def test_what_is_restored_is_what_was_saved_bit_for_bit(
    opened: Callable[[], Checkpoints], said: list[str]
) -> None:
    restored = opened().restore(state_of(0))
    assert restored is not None
    step, state = restored
    assert step == 2
    assert jax.tree.structure(state) == jax.tree.structure(state_of(2))
    assert bits(state) == bits(state_of(2))
    assert said == []


def test_restored_arrays_lie_where_the_example_lies(opened: Callable[[], Checkpoints]) -> None:
    like = state_of(0)
    restored = opened().restore(like)
    assert restored is not None
    for new, old in zip(jax.tree.leaves(restored[1]), jax.tree.leaves(like), strict=True):
        assert new.sharding.is_equivalent_to(old.sharding, new.ndim)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda state: state._replace(carried={"u": jnp.ones(2)}),
            r"carried/u is missing there, float32\[2\] here",
        ),
        (lambda state: state._replace(opt_state=()), "opt_state/0/trace/.* there, nothing here"),
        (
            lambda state: state._replace(batch_stats={"mean": jnp.ones(9)}),
            r"batch_stats/mean is float32\[8\] there, float32\[9\] here",
        ),
        (
            lambda state: state._replace(batch_stats={"mean": jnp.ones(8, jnp.bfloat16)}),
            r"batch_stats/mean is float32\[8\] there, bfloat16\[8\] here",
        ),
    ],
)
def test_a_checkpoint_of_other_arrays_is_refused_and_stays(
    change: Callable[..., object],
    sentence: str,
    opened: Callable[[], Checkpoints],
    directory: Path,
    said: list[str],
) -> None:
    like = state_of(0)
    with pytest.raises(MisfitError, match=f"^train/{sentence}$"):
        opened().restore(like._replace(train=change(like.train)))
    assert said == []
    assert sorted(path.name for path in directory.iterdir()) == ["1", "2"]
    assert not directory.with_name("damaged").exists()


def test_what_is_read_has_the_same_bits_and_needs_no_example(opened: Callable[[], Checkpoints]) -> None:
    found = opened().read()
    assert found is not None
    step, state = found
    expected = state_of(2)
    assert step == 2
    np.testing.assert_array_equal(
        state["best"]["params"]["conv"]["latent"], expected.best.params["conv"]["latent"]
    )
    assert digest(state) == digest(expected)


def test_an_empty_directory_restores_nothing(tmp_path: Path, said: list[str]) -> None:
    checkpoints = Checkpoints(tmp_path / "new" / "checkpoints", said.append)
    assert checkpoints.latest_step() is None
    assert checkpoints.restore(state_of(0)) is None
    checkpoints.close()
    assert said == []


def test_the_last_two_are_kept(opened: Callable[[], Checkpoints], directory: Path) -> None:
    checkpoints = opened()
    for step in (5, 9):
        checkpoints.save(step, state_of(step))
        assert checkpoints.latest_step() == step
    assert sorted(path.name for path in directory.iterdir()) == ["5", "9"]


def test_a_step_that_is_there_is_not_written_again(opened: Callable[[], Checkpoints]) -> None:
    checkpoints = opened()
    checkpoints.save(2, state_of(7))
    restored = checkpoints.restore(state_of(0))
    assert restored is not None
    assert bits(restored[1]) == bits(state_of(2))


def array_files(checkpoint: Path) -> list[Path]:
    """The files with the arrays' bytes; the first is the largest."""
    files = [path for path in (checkpoint / "state").rglob("*") if path.is_file() and path.parent.name == "d"]
    return sorted(files, key=lambda path: -path.stat().st_size)


def truncate_arrays(checkpoint: Path) -> None:
    path = array_files(checkpoint)[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty_arrays(checkpoint: Path) -> None:
    for path in array_files(checkpoint):
        path.write_bytes(b"")


def delete_arrays(checkpoint: Path) -> None:
    for path in array_files(checkpoint):
        path.unlink()


def flip_a_bit(checkpoint: Path) -> None:
    path = array_files(checkpoint)[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def flip_every_file(checkpoint: Path) -> None:
    for path in checkpoint.rglob("*"):
        if path.is_file() and path.stat().st_size:
            path.write_bytes(bytes(byte ^ 0x55 for byte in path.read_bytes()))


def delete_state_metadata(checkpoint: Path) -> None:
    (checkpoint / "state" / "_METADATA").unlink()


def delete_manifest(checkpoint: Path) -> None:
    (checkpoint / "state" / "manifest.ocdbt").unlink()


def delete_state(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint / "state")


def delete_meta(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint / "meta")


def tear_meta(checkpoint: Path) -> None:
    (path,) = (path for path in (checkpoint / "meta").rglob("metadata") if path.is_file())
    path.write_text(path.read_text()[:10])


def forget_the_digest(checkpoint: Path) -> None:
    (path,) = (path for path in (checkpoint / "meta").rglob("metadata") if path.is_file())
    path.write_text(json.dumps({}))


def empty_directory(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


def swap_states(checkpoint: Path) -> None:
    """Complete and readable, but of another step: only the digest shows it."""
    shutil.rmtree(checkpoint / "state")
    shutil.copytree(checkpoint.with_name("1") / "state", checkpoint / "state")


DAMAGES = [
    truncate_arrays,
    empty_arrays,
    delete_arrays,
    flip_a_bit,
    flip_every_file,
    delete_state_metadata,
    delete_manifest,
    delete_state,
    delete_meta,
    tear_meta,
    forget_the_digest,
    empty_directory,
    swap_states,
]


# Files cut short make TensorStore's threads print tracebacks, so those are for the check of files alone.
CASES = [(damage, True) for damage in DAMAGES] + [
    (damage, False)
    for damage in (flip_a_bit, delete_state_metadata, delete_state, delete_meta, tear_meta, forget_the_digest)
]


@pytest.mark.parametrize(("damage", "with_sums"), CASES)
def test_a_damaged_latest_checkpoint_gives_way_to_the_one_before(
    damage: Callable[[Path], None],
    with_sums: bool,
    opened: Callable[[], Checkpoints],
    directory: Path,
    said: list[str],
) -> None:
    if not with_sums:  # as a run leaves it that was killed at the very end of a save
        (directory / "2" / SUMS).unlink()
    damage(directory / "2")
    left = {path.relative_to(directory / "2") for path in (directory / "2").rglob("*")}
    checkpoints = opened()
    restored = checkpoints.restore(state_of(0))
    assert restored is not None
    assert restored[0] == 1
    assert bits(restored[1]) == bits(state_of(1))
    # It is said in one sentence, and nothing of it is gone.
    (sentence,) = said
    assert sentence.startswith("checkpoint 2 is damaged (")
    assert "\n" not in sentence
    (moved,) = directory.with_name("damaged").iterdir()
    assert sentence.endswith(f"it was moved to {moved}")
    assert {path.relative_to(moved) for path in moved.rglob("*")} == left
    # The step can be saved again.
    checkpoints.save(2, state_of(2))
    again = checkpoints.restore(state_of(0))
    assert again is not None
    assert (again[0], bits(again[1])) == (2, bits(state_of(2)))


def test_with_all_damaged_nothing_is_restored_and_nothing_is_gone(
    opened: Callable[[], Checkpoints], directory: Path, said: list[str]
) -> None:
    for step in ("1", "2"):
        flip_a_bit(directory / step)
    assert opened().restore(state_of(0)) is None
    assert [sentence.split()[1] for sentence in said] == ["2", "1"]
    assert len(list(directory.with_name("damaged").iterdir())) == 2


def test_read_only_leaves_everything_as_it_is(directory: Path, said: list[str], tmp_path: Path) -> None:
    flip_a_bit(directory / "2")
    shutil.copytree(directory / "1", directory / "3.orbax-checkpoint-tmp")
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    checkpoints = Checkpoints(directory, said.append, read_only=True)
    restored = checkpoints.restore(state_of(0))
    checkpoints.close()
    assert restored is not None
    assert (restored[0], bits(restored[1])) == (1, bits(state_of(1)))
    (sentence,) = said
    assert sentence.startswith("checkpoint 2 is damaged (")
    assert sentence.endswith(")")
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_a_sound_checkpoint_without_its_sums_is_used(
    opened: Callable[[], Checkpoints], directory: Path, said: list[str]
) -> None:
    (directory / "2" / SUMS).unlink()
    (directory / "2" / "sha256.tmp").write_text("{")
    restored = opened().restore(state_of(0))
    assert restored is not None
    assert (restored[0], bits(restored[1])) == (2, bits(state_of(2)))
    assert said == []


def test_what_a_killed_save_leaves_is_no_checkpoint(
    opened: Callable[[], Checkpoints], directory: Path, said: list[str]
) -> None:
    shutil.copytree(directory / "2", directory / "3.orbax-checkpoint-tmp")
    shutil.copytree(directory / "2", directory / "7.orbax-checkpoint-tmp")
    checkpoints = opened()
    assert checkpoints.latest_step() == 2
    assert sorted(path.name for path in directory.iterdir()) == ["1", "2"]
    checkpoints.save(3, state_of(3))
    restored = checkpoints.restore(state_of(0))
    assert restored is not None
    assert (restored[0], bits(restored[1])) == (3, bits(state_of(3)))
    assert said == []


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (
            ValueError("RESOURCE_EXHAUSTED: Failed to write 9 bytes to file 8 [os_error_code='28']"),
            errno.ENOSPC,
        ),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), errno.EDQUOT),
    ],
)
def test_a_save_that_the_system_ends_leaves_the_checkpoints_before(
    error: Exception,
    number: int,
    opened: Callable[[], Checkpoints],
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(manager: object, step: int, **_: object) -> None:
        (directory / f"{step}.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
        raise error

    checkpoints = opened()
    with monkeypatch.context() as patch:
        patch.setattr(ocp.CheckpointManager, "save", full)
        with pytest.raises(OSError, match=os.strerror(number)) as told:
            checkpoints.save(3, state_of(3))
    assert (told.value.errno, told.value.filename) == (number, str(directory / "3"))
    assert sorted(path.name for path in directory.iterdir()) == ["1", "2"]
    checkpoints.save(3, state_of(3))
    restored = checkpoints.restore(state_of(0))
    assert restored is not None
    assert (restored[0], bits(restored[1])) == (3, bits(state_of(3)))


def test_other_errors_of_a_save_stay_what_they_are(
    opened: Callable[[], Checkpoints], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(manager: object, step: int, **_: object) -> None:
        raise ValueError("a mistake")

    checkpoints = opened()
    monkeypatch.setattr(ocp.CheckpointManager, "save", wrong)
    with pytest.raises(ValueError, match="a mistake"):
        checkpoints.save(3, state_of(3))


@pytest.mark.parametrize(
    "other",
    [
        {"a": np.array([1.0, 2.0, 3.5], np.float32)},
        {"b": np.array([1.0, 2.0, 3.0], np.float32)},
        {"a": np.array([1.0, 2.0, 3.0], np.float64)},
        {"a": np.array([[1.0, 2.0, 3.0]], np.float32)},
        {"a": np.array([1.0, 3.0, 2.0], np.float32)},
        {"a": {"a": np.array([1.0, 2.0, 3.0], np.float32)}},
    ],
)
def test_the_digest_tells_values_places_types_and_shapes_apart(other: object) -> None:
    ours = {"a": np.array([1.0, 2.0, 3.0], np.float32)}
    assert digest(ours) == digest({"a": jnp.array([1.0, 2.0, 3.0])})
    assert digest(ours) != digest(other)


def test_the_digest_tells_zero_from_minus_zero() -> None:
    assert digest({"a": np.zeros(1)}) != digest({"a": -np.zeros(1)})
