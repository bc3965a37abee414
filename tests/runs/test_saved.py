"""Networks read back from the directories of runs, and runs made from other networks, as processes."""

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tiny_experiment
from processes import Run, Start, finish, wait_until
from runs import TINY, checkpoint_is_there
from shared import made_once

import bnnjax.runs.train
from bnnjax.config.constraints import LCRConfig
from bnnjax.config.training import Config
from bnnjax.data import Dataset
from bnnjax.runs.plan import Plan
from bnnjax.runs.saved import read_config, read_teachers, read_trained
from bnnjax.runs.train import stages_left

EPOCHS, STEPS = 2, 300
FEW = ("--epochs", EPOCHS)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return tiny_experiment.load(Config(dataset="digits"))


@pytest.fixture(scope="module")
def hashed(run: Run, shared_folder: Path) -> Path:
    """An undisturbed run of BWNH, under its other name, with its full-precision run inside."""

    def make(place: Path) -> None:
        done = run(TINY, "--method=bwhn", "--workdir", place, *FEW)
        assert (done.returncode, done.stderr) == (0, "")
        told = ("bwnh", "beginning", "prepared")
        said = [line for line in done.stdout.splitlines() if line.startswith(told)]
        first = place / "pretrained"
        assert said[0] == f"bwnh begins from a full-precision network, trained first in {first}"
        assert said[1] == f"beginning from the network in {first}"
        assert said[2].startswith("prepared the kernels layer by layer in ")
        assert "there is no checkpoint" not in done.stdout

    return made_once(shared_folder, "hashed", make)


@pytest.fixture
def copy(hashed: Path, tmp_path: Path) -> Path:
    """To be damaged or moved."""
    shutil.copytree(hashed, tmp_path / "copy")
    return tmp_path / "copy"


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def metrics(place: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]


def last_state(place: Path) -> Any:
    """The latest checkpoint, read without the code under test."""
    step = max(int(path.name) for path in (place / "checkpoints").iterdir() if path.name.isdecimal())
    return ocp.StandardCheckpointer().restore(place / "checkpoints" / str(step) / "state")


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, bytes]]:
    for key, value in sorted(tree.items()):
        if isinstance(value, dict):
            yield from leaves(value, f"{name}/{key}")
        else:
            yield f"{name}/{key}", np.asarray(value).tobytes()


def best_of(place: Path) -> list[tuple[str, bytes]]:
    return list(leaves(last_state(place)["best"]))


def test_the_best_network_is_read_back_bit_for_bit_and_the_run_is_left_alone(
    hashed: Path, dataset: Dataset
) -> None:
    before = contents(hashed)
    for place, method in ((hashed, "bwnh"), (hashed / "pretrained", "fp")):
        found = read_trained(place, dataset)
        best = last_state(place)["best"]
        assert list(leaves(found.params)) == list(leaves(best["params"]))
        assert list(leaves(found.batch_stats)) == list(leaves(best["batch_stats"]))
        assert (found.place, found.config.method, found.network.method.name) == (place, method, method)
        assert found.config == read_config(place)
        assert found.config.workdir == place
    assert contents(hashed) == before


def test_the_network_that_is_read_back_has_the_accuracy_that_the_run_reports(
    hashed: Path, dataset: Dataset
) -> None:
    found = read_trained(hashed / "pretrained", dataset)
    images = (dataset.test.images / 255 - np.array(dataset.mean)) / np.array(dataset.std)
    logits = jax.jit(found.network.logits)(found.params, found.batch_stats, images.astype(np.float32))
    accuracy = 100 * np.mean(np.argmax(logits, 1) == dataset.test.labels)
    assert accuracy == pytest.approx(read(hashed / "pretrained" / "summary.json")["test_accuracy"])


def test_the_summary_tells_what_a_run_was_made_from(hashed: Path) -> None:
    summary, first = read(hashed / "summary.json"), read(hashed / "pretrained" / "summary.json")
    assert (summary["method"], summary["bits"]) == ("bwnh", "1/32")
    assert (summary["pretrained"], summary["pretrained_epochs"]) == ("pretrained", EPOCHS)
    assert summary["teacher"] is None
    assert 0 < summary["prepare_seconds"] < 600
    assert (first["method"], first["epochs"], first["constraint"]) == ("fp", EPOCHS, "none")
    assert (first["pretrained"], first["prepare_seconds"]) == (None, None)
    assert first["structure"] == summary["structure"] == "bireal"
    assert read_config(hashed).method == "bwnh"


def test_a_directory_that_holds_no_network_is_told_in_one_sentence(copy: Path, dataset: Dataset) -> None:
    def complaint(place: Path) -> str:
        with pytest.raises(ValueError, match=str(place)) as caught:
            read_trained(place, dataset)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert complaint(copy.parent).endswith("is not the directory of a run: it has no config.json")
    (copy.parent / "empty").mkdir()
    shutil.copy(copy / "config.json", copy.parent / "empty")
    assert complaint(copy.parent / "empty").endswith("has no checkpoint yet")
    assert not (copy.parent / "empty" / "checkpoints").exists()
    (copy.parent / "empty" / "checkpoints").mkdir()
    assert complaint(copy.parent / "empty").endswith("has no checkpoint yet")
    record = read(copy / "config.json")
    (copy / "config.json").write_text(json.dumps(record | {"config": record["config"] | {"shape": 1}}))
    assert complaint(copy).endswith("this version knows: ResolvedConfig has no field shape")
    (copy / "config.json").write_text("[]")
    assert "is not the record of a run that this version knows" in complaint(copy)


def test_a_network_for_other_classes_is_refused_and_not_set_aside(copy: Path, dataset: Dataset) -> None:
    before = contents(copy)
    fewer = tiny_experiment.assemble(
        name="fewer",
        class_names=tuple("01234"),
        train=tiny_experiment.images(100, 0),
        test=tiny_experiment.images(20, 1),
        validation_examples=30,
        train_examples=None,
        augmentation=dataset.augmentation,
        source="made up",
    )
    with pytest.raises(ValueError, match="copy has no network for images of 8x8x3 and 5 classes: ") as caught:
        read_trained(copy, fewer)
    assert "\n" not in str(caught.value)
    assert contents(copy) == before


def test_a_damaged_checkpoint_gives_way_to_the_one_before(copy: Path, dataset: Dataset) -> None:
    last = copy / "checkpoints" / str(EPOCHS * STEPS)
    path = max(last.rglob("d/*"), key=lambda path: path.stat().st_size)
    path.write_bytes(path.read_bytes()[:-20])
    before = contents(copy)
    assert read_trained(copy, dataset).config.method == "bwnh"
    assert contents(copy) == before


def test_a_teacher_is_of_the_same_data_set(hashed: Path, dataset: Dataset) -> None:
    lcr = LCRConfig(teacher=hashed / "pretrained")
    for constraint, given in (
        ({}, {"targets": "bwnh"}),
        ({"constraint": "lcr", "lcr": lcr}, {"targets": "bwnh", "lcr": "fp"}),
    ):
        found = read_teachers(Config(dataset="digits", teacher=hashed, **constraint), dataset)
        assert {name: teacher.config.method for name, teacher in found.items()} == given
    assert read_teachers(Config(), dataset) == {}
    for fields in ({"teacher": hashed}, {"constraint": "lcr", "lcr": lcr}):
        with pytest.raises(ValueError, match=r"was trained on digits; the data set is cifar10$"):
            read_teachers(Config(**fields), dataset)


@pytest.mark.slow
@pytest.mark.timeout(300)  # five runs
def test_stopped_while_the_first_network_trains_and_after_it_ends_with_the_same_bits(
    start: Start, run: Run, hashed: Path, tmp_path: Path
) -> None:
    place = tmp_path / "run"

    def stop_at(checkpoint: Path) -> str:
        process = start(TINY, "--method=bwnh", "--workdir", place, *FEW)
        wait_until(checkpoint.exists, process)
        time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        done = finish(process)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    first = place / "pretrained"
    said = stop_at(first / "checkpoints" / str(STEPS)).splitlines()[-1]
    assert said.startswith("stopped by SIGTERM at step ")
    assert said.endswith(f"everything is saved in {first}; rerun the command to resume")
    assert not (place / "metrics.jsonl").exists()
    assert not (first / "summary.json").exists()
    output = stop_at(place / "checkpoints" / str(STEPS))
    assert "resuming from step " in output
    assert "stopped by SIGTERM at step " in output
    took = read(place / "beginning.json")["prepare_seconds"]
    moved = tmp_path / "moved"
    place.rename(moved)
    done = run(TINY, "--method=bwnh", "--workdir", moved, *FEW)
    assert (done.returncode, done.stderr) == (0, "")
    assert "prepared" not in done.stdout
    assert done.stdout.startswith("resuming from step ")
    for folder in (moved, moved / "pretrained"):
        theirs = hashed / folder.relative_to(moved)
        assert best_of(folder) == best_of(theirs)
        assert list(leaves(last_state(folder)["train"]["params"])) == list(
            leaves(last_state(theirs)["train"]["params"])
        )
    summary, reference = read(moved / "summary.json"), read(hashed / "summary.json")
    for key in ("test_accuracy", "test_loss", "best_epoch", "pretrained", "pretrained_epochs"):
        assert summary[key] == reference[key]
    assert summary["prepare_seconds"] == took


@pytest.mark.slow
def test_a_run_from_a_network_that_is_given_trains_none_itself(
    run: Run, hashed: Path, tmp_path: Path
) -> None:
    place = tmp_path / "run"
    given = ("--method=bwnh", "--pretrained", hashed / "pretrained", *FEW)
    done = run(TINY, *given, "--workdir", place)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (place / "pretrained").exists()
    assert best_of(place) == best_of(hashed)
    summary = read(place / "summary.json")
    assert summary["pretrained"] == str(hashed / "pretrained")
    assert summary["pretrained_epochs"] == EPOCHS


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """prepare(field=value, ...): checks a run in tmp_path / "run", which is not held afterwards."""
    monkeypatch.setattr(bnnjax.runs.plan, "load", tiny_experiment.load)

    def prepared(**fields: Any) -> Any:
        given = {"workdir": tmp_path / "run", "epochs": EPOCHS} | fields
        plan = bnnjax.runs.plan.prepare(tiny_experiment.DEFAULTS.with_values(**given))
        plan.held.close()
        return plan

    return prepared


def compared(teacher: Path, **fields: Any) -> dict[str, Any]:
    return {"constraint": "lcr", "lcr": LCRConfig(teacher=teacher), **fields}


def test_networks_that_do_not_fit_are_refused_before_the_directory_is_claimed(
    prepare: Callable[..., Any], hashed: Path, tmp_path: Path
) -> None:
    for fields, sentence in (
        ({"pretrained": tmp_path}, "is not the directory of a run"),
        ({"teacher": tmp_path}, "is not the directory of a run"),
        ({"teacher": hashed, "dataset": "mnist"}, "was trained on digits; the data set is mnist"),
        ({"pretrained": hashed, "model": "vgg_tiny"}, "has model resnet_tiny; vgg_tiny is needed"),
        ({"pretrained": hashed, "structure": "plain"}, "has structure bireal; plain is needed"),
        (compared(tmp_path), "is not the directory of a run"),
        (compared(hashed / "pretrained", dataset="mnist"), "was trained on digits; the data set is mnist"),
        (compared(hashed), "the lcr teacher .* has method bwnh; fp is needed"),
        (
            compared(hashed / "pretrained", model="vgg_tiny"),
            "has stages of 8x8, 4x4; 4x4, 2x2, 1x1 are needed",
        ),
        (
            {"constraint": "lcr", "lcr": LCRConfig(form="paper"), "method": "bwn"},
            "layers that quantize their inputs with the next; this network has 0",
        ),
    ):
        with pytest.raises(ValueError, match=sentence):
            prepare(**fields)
        assert not (tmp_path / "run").exists()


def test_a_run_resumes_with_the_network_that_lcr_compared_it_with(
    prepare: Callable[..., Any], hashed: Path, copy: Path
) -> None:
    first = prepare(**compared(hashed / "pretrained"))
    assert first.stages == (first.run,)
    assert first.run.teachers.keys() == {"lcr"}
    assert prepare(**compared(copy / "pretrained")).run.is_known
    with pytest.raises(ValueError, match=r"another network as --lcr\.teacher: .* there, none here"):
        prepare(constraint="lcr")
    with pytest.raises(ValueError, match=r"lcr\.beta is 2\.0 there, 3\.0 here"):
        prepare(constraint="lcr", lcr=LCRConfig(teacher=hashed / "pretrained", beta=3.0))


def test_one_twin_serves_method_and_constraint(prepare: Callable[..., Any], tmp_path: Path) -> None:
    twin, run = prepare(method="bwnh", constraint="lcr").stages
    assert (run.place, twin.place) == (tmp_path / "run", tmp_path / "run" / "pretrained")
    assert run.config.compares_with_twin
    assert run.begins_from_twin
    assert twin.config == run.twin
    assert (twin.config.method, twin.config.constraint) == ("fp", "none")
    assert not twin.config.compares_with_twin
    assert not twin.begins_from_twin


def places_left(plan: Plan) -> list[str]:
    return [stage.place.name for stage in stages_left(plan)]


def test_a_twin_that_training_only_began_from_is_not_trained_again(
    prepare: Callable[..., Any], copy: Path
) -> None:
    shutil.rmtree(copy / "pretrained")
    finished = prepare(method="bwnh", workdir=copy)
    assert finished.stages == (finished.run,)
    (copy / "summary.json").unlink()
    resumed = prepare(method="bwnh", workdir=copy)
    assert [stage.place.name for stage in resumed.stages] == ["pretrained", "copy"]
    assert places_left(resumed) == ["copy"]
    shutil.rmtree(copy / "checkpoints")
    assert places_left(resumed) == ["pretrained", "copy"]


def test_a_twin_that_every_step_compares_with_is_trained_again(
    prepare: Callable[..., Any], hashed: Path, tmp_path: Path
) -> None:
    place = tmp_path / "run"
    plan = prepare(constraint="lcr")
    shutil.copytree(hashed / "checkpoints", place / "checkpoints")  # something to resume from
    assert places_left(plan) == ["pretrained", "run"]
    shutil.copy(hashed / "summary.json", place / "pretrained")
    assert places_left(plan) == ["run"]


@pytest.mark.slow
@pytest.mark.timeout(300)  # five runs
def test_lcr_compares_with_a_network_that_the_command_trains_first(
    start: Start, run: Run, tmp_path: Path
) -> None:
    def arguments(name: str) -> tuple[object, ...]:
        given = ("--constraint=l1inf,lcr", "--lcr.gains", "--lcr.strength=1e4", "--epochs=2")
        return (TINY, *given, "--train-examples=400", "--workdir", tmp_path / name)

    whole = run(*arguments("whole"))
    assert (whole.returncode, whole.stderr) == (0, "")
    first = tmp_path / "whole" / "pretrained"
    assert whole.stdout.startswith(f"lcr compares with a full-precision network, trained first in {first}")
    summary = read(tmp_path / "whole" / "summary.json")
    assert (summary["lcr_teacher"], summary["pretrained"], summary["teacher"]) == ("pretrained", None, None)
    assert summary["constraint"] == "l1inf,lcr"
    assert read(first / "summary.json")["constraint"] == "none"
    assert read(first / "summary.json")["lcr_teacher"] is None
    assert read(first / "summary.json")["parameters"] == summary["parameters"]  # gains are no part of it
    gains = last_state(tmp_path / "whole")["train"]["params"]["learned"]["lcr_gains"]
    assert gains.shape == (2,)
    assert not np.array_equal(gains, np.ones(2))
    assert all(record["penalty"] > 0 for record in metrics(tmp_path / "whole"))

    process = start(*arguments("halves"))
    wait_until(checkpoint_is_there(tmp_path / "halves", 50), process)
    process.send_signal(signal.SIGTERM)
    finish(process)
    done = run(*arguments("halves"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(("resuming from step ", "this run is finished already"))
    assert best_of(tmp_path / "halves") == best_of(tmp_path / "whole")

    given = ("--constraint=lcr", "--lcr.teacher", first, "--lcr.second-pass", "--train-examples=80")
    done = run(TINY, *given, "--epochs=1", "--workdir", tmp_path / "given")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "given" / "pretrained").exists()
    assert read(tmp_path / "given" / "summary.json")["lcr_teacher"] == str(first)
    assert read(tmp_path / "given" / "config.json")["lcr.teacher"]["run"] == str(first)


def test_a_taught_run_resumes_with_its_own_teacher_only_wherever_that_lies(
    prepare: Callable[..., Any], hashed: Path, copy: Path
) -> None:
    first = prepare(teacher=hashed / "pretrained")
    assert first.run.setup.task.learner.teacher is not None
    assert first.stages == (first.run,)
    assert prepare(teacher=copy / "pretrained").run.is_known
    for other in (copy, None):
        with pytest.raises(ValueError, match="another network as --teacher: sha256 "):
            prepare(teacher=other)


def test_the_targets_are_the_teachers_probabilities_at_inference(
    prepare: Callable[..., Any], hashed: Path, dataset: Dataset
) -> None:
    run = prepare(teacher=hashed).run
    teacher = run.teachers["targets"]
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
    arrays = (teacher.params, teacher.batch_stats)
    found = jax.jit(run.setup.task.learner.targets)(images, np.eye(4, 10), {"targets": arrays})
    logits = np.asarray(jax.jit(teacher.network.logits)(*arrays, images), np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.slow
def test_a_run_is_taught_and_says_by_whom(run: Run, hashed: Path, tmp_path: Path) -> None:
    place = tmp_path / "run"
    few = ("--epochs=1", "--train-examples=160")
    done = run(TINY, "--teacher", hashed / "pretrained", "--workdir", place, *few)
    assert (done.returncode, done.stderr) == (0, "")
    summary = read(place / "summary.json")
    assert (summary["teacher"], summary["pretrained"]) == (str(hashed / "pretrained"), None)
