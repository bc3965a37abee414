"""Whole runs as processes and their results; tests/faults has interruptions and damage."""

import json
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from processes import Run, modules_loaded
from runs import ROOT, STEPS, TINY, contents, records

from bnnjax.config.training import Config
from bnnjax.data.load import load

DIGITS = ROOT / "experiments" / "digits.py"


def test_a_run_is_imported_without_what_it_may_not_need(run: Run) -> None:
    names = "matplotlib scipy.special sklearn tensorflow_datasets PIL cv2 grain"
    assert modules_loaded(run, "import bnnjax.runs.train", names) == []


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


@pytest.mark.slow
def test_bfloat16_keeps_float32_parameters_and_a_finite_loss(run: Run, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    options = ("--precision=bfloat16", "--epochs=1", "--constraint=l1inf", "--optimizer=adamw")
    done = run(TINY, "--workdir", workdir, "--learning-rate=0.001", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert np.isfinite(records(workdir)[0]["loss"])
    arrays = ocp.StandardCheckpointer().restore(workdir / "checkpoints" / str(STEPS) / "state")
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(arrays)} == {"float32", "int32"}


@pytest.fixture
def first_run(request: pytest.FixtureRequest, run: Run, digits_dir: Path, tmp_path: Path) -> Path:
    """The README's first run, or one of two epochs."""
    given: Path | None = request.config.getoption("--first-run")
    if given is not None:
        return given
    workdir = tmp_path / "run"
    settings = ("--constraint=l1inf", "--epochs=2", "--data-dir", digits_dir, "--workdir", workdir)
    done = run(DIGITS, *settings, limit=250)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("compiling the training step\nepoch 1/2  ")
    return workdir


@pytest.mark.slow
@pytest.mark.timeout(300)  # two epochs of the digits and 57 conditions of noise
def test_digits_are_learned_and_a_run_leaves_all_that_it_should(first_run: Path) -> None:
    """.ci/run checks that the full recipe exceeds 90 %."""
    workdir = first_run
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["test_accuracy"] > 60
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
    assert summary["quick_corruption_accuracy"] > 50
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
