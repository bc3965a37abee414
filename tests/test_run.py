"""Whole runs as processes: what they leave behind, and that no way of stopping one changes its result."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from bnnjax.config import Config
from bnnjax.run import load

ROOT = Path(__file__).parents[1]
DIGITS, TINY = ROOT / "experiments" / "digits.py", ROOT / "tests" / "tiny_experiment.py"
STEPS, EPOCHS = 300, 4  # of the tiny experiment; an epoch takes a good part of a second

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]


def records(workdir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def without_times(workdir: Path) -> list[dict[str, Any]]:
    times = ("seconds", "images_per_second")
    return [{key: value for key, value in record.items() if key not in times} for record in records(workdir)]


def results(workdir: Path) -> dict[str, Any]:
    summary = json.loads((workdir / "summary.json").read_text())
    keys = ("test_accuracy", "test_loss", "validation_accuracy", "best_epoch", "log_lipschitz_bound")
    return {key: summary[key] for key in keys}


def last_arrays(workdir: Path) -> dict[str, bytes]:
    """The bytes of every array of the last checkpoint, read without the code under test."""
    steps = [int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdecimal()]
    tree = ocp.StandardCheckpointer().restore(workdir / "checkpoints" / str(max(steps)) / "state")
    arrays: dict[str, bytes] = {"last step": str(max(steps)).encode()}

    def visit(name: str, node: Any) -> None:
        if isinstance(node, dict):
            for key, child in node.items():
                visit(f"{name}/{key}", child)
        elif isinstance(node, list | tuple):
            for place, child in enumerate(node):
                visit(f"{name}/{place}", child)
        elif node is not None:
            arrays[name] = np.asarray(node).tobytes()

    visit("", tree)
    return arrays


def assert_same_run(workdir: Path, reference: Path) -> None:
    ours, theirs = last_arrays(workdir), last_arrays(reference)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert without_times(workdir) == without_times(reference)
    assert [record["epoch"] for record in records(workdir)] == list(range(1, EPOCHS + 1))
    assert results(workdir) == results(reference)


def wait_until(holds: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    while not holds():
        assert process.poll() is None, process.communicate()
        time.sleep(0.0005)


def checkpoint_is_there(workdir: Path, step: int) -> Callable[[], bool]:
    return (workdir / "checkpoints" / str(step)).exists


def unfinished_saves(workdir: Path) -> list[Path]:
    return list((workdir / "checkpoints").glob("*tmp*"))


@pytest.fixture(scope="module")
def reference(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody disturbed."""
    workdir = tmp_path_factory.mktemp("reference") / "run"
    done = run(TINY, "--workdir", workdir)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"report: {workdir / 'report.html'}" in done.stdout
    return workdir


@pytest.fixture
def finished(reference: Path, tmp_path: Path) -> Path:
    """A copy of the reference, to be damaged."""
    shutil.copytree(reference, tmp_path / "run")
    return tmp_path / "run"


def kill(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


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
        lambda: any(file.is_file() for save in unfinished_saves(workdir) for file in save.rglob("d/*")),
    ):
        for leftover in unfinished_saves(workdir):
            shutil.rmtree(leftover)
        process = start(TINY, "--workdir", workdir)
        wait_until(is_writing, process)
        kill(process)
        assert unfinished_saves(workdir) != []
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


def contents(folder: Path) -> dict[Path, bytes]:
    """What is in each file; folders have no bytes."""
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")
    }


def truncate_files(checkpoint: Path) -> None:
    for path in checkpoint.rglob("d/*"):
        path.write_bytes(path.read_bytes()[:-20])


def flip_a_bit(checkpoint: Path) -> None:
    path = max(checkpoint.rglob("d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)


def delete_metadata(checkpoint: Path) -> None:
    (checkpoint / "state" / "_METADATA").unlink()
    (checkpoint / "_CHECKPOINT_METADATA").unlink()


def empty(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


@pytest.mark.parametrize("damage", [truncate_files, flip_a_bit, delete_metadata, empty])
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


def test_a_finished_run_says_so_and_is_left_as_it_is(run: Run, finished: Path) -> None:
    before = contents(finished)
    done = run(TINY, "--workdir", finished)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"this run is finished already; its results are in {finished}\n")
    assert contents(finished) == before


def test_a_loss_that_explodes_exits_with_3_and_names_the_step(run: Run, tmp_path: Path) -> None:
    done = run(TINY, "--workdir", tmp_path / "run", "--learning-rate", "1e30", "--warmup-epochs", "1")
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith("stopped: the ")
    assert " is not finite at step " in line
    assert "Traceback" not in done.stdout
    assert not (tmp_path / "run" / "summary.json").exists()


def test_bfloat16_keeps_float32_parameters_and_a_finite_loss(run: Run, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    options = ("--precision=bfloat16", "--epochs=1", "--constraint=l1inf", "--optimizer=adamw")
    done = run(TINY, "--workdir", workdir, "--learning-rate=0.001", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert np.isfinite(records(workdir)[0]["loss"])
    arrays = ocp.StandardCheckpointer().restore(workdir / "checkpoints" / str(STEPS) / "state")
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(arrays)} == {"float32", "int32"}


def test_digits_with_their_own_recipe_beat_90_percent(run: Run, digits_dir: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    done = run(DIGITS, "--constraint=l1inf", "--data-dir", digits_dir, "--workdir", workdir)
    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["test_accuracy"] > 90
    assert (summary["dataset"], summary["method"], summary["constraint"]) == ("digits", "irnet", "l1inf")
    assert summary["parameters"] == 269_850
    flat = (
        "dataset method constraint test_accuracy validation_accuracy log_lipschitz_bound train_seconds "
        "images_per_second parameters devices epochs seed"
    )
    assert set(flat.split()) <= summary.keys()
    epochs = records(workdir)
    assert len(epochs) == summary["epochs"]
    keys = (
        "loss task_loss penalty train_accuracy validation_accuracy log_lipschitz_bound units_off "
        "images_per_second learning_rate step seconds validation_loss epoch"
    )
    assert all(record.keys() == set(keys.split()) for record in epochs)
    assert summary["validation_accuracy"] == max(record["validation_accuracy"] for record in epochs)
    assert epochs[summary["best_epoch"] - 1]["validation_accuracy"] == summary["validation_accuracy"]
    assert epochs[summary["best_epoch"] - 1]["log_lipschitz_bound"] == pytest.approx(
        summary["log_lipschitz_bound"], rel=1e-5
    )
    config = json.loads((workdir / "config.json").read_text())
    assert config["config"]["constraint"] == "l1inf"
    assert config["data"]["digest"] == summary["data_digest"]
    assert {"versions", "git_revision", "command", "devices"} <= config.keys()
    units = json.loads((workdir / "units.json").read_text())
    noise = json.loads((workdir / "robustness.json").read_text())
    assert len(noise["accuracy"]) == 19
    assert all(list(by_severity) == ["1", "3", "5"] for by_severity in noise["accuracy"].values())
    assert noise["clean_accuracy"] == pytest.approx(summary["test_accuracy"])  # all 360 images are used
    assert summary["quick_corruption_accuracy"] == noise["mean_corruption_accuracy"]
    assert summary["quick_corruption_accuracy"] > 60
    assert [unit["kind"] for unit in units] == ["full precision", *["binary"] * 18, "full precision"]
    assert all(0 < unit["tightness"] <= 1 for unit in units)
    names = {path.name for path in workdir.iterdir()}
    assert {"report.html", "curves.png", "bounds.png", "checkpoints", "confusion.png", "noise.png"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert [name for name in names if name.endswith(".tmp")] == []
    assert all((workdir / name).read_bytes()[:4] == b"\x89PNG" for name in names if name.endswith(".png"))


def test_any_prepared_data_set_is_loaded_by_its_directory(digits_dir: Path) -> None:
    digits = load(Config(dataset="digits", data_dir=digits_dir))
    named = load(Config(dataset="bnnjax_digits", data_dir=digits_dir, train_examples=100))
    np.testing.assert_array_equal(named.test.images, digits.test.images)
    assert len(named.validation.labels) == 143  # a tenth of 1,437
    assert len(named.train.labels) == 100
    assert named.class_names == digits.class_names
    assert (named.augmentation.crop_padding, named.augmentation.flip) == (0, False)
