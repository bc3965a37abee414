"""The robustness evaluation as a command: comparisons, files, and resuming."""

import csv
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_experiment
from PIL import Image
from rich.console import Console

from bnnjax.config.robustness import RobustnessConfig
from bnnjax.data.dataset import DataError
from bnnjax.runs.saved import Trained
from bnnjax.studies import robustness


@pytest.fixture(autouse=True)
def _tiny_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robustness, "load", tiny_experiment.load)


def do(**settings: Any) -> tuple[int, str]:
    console = Console(width=300)
    with console.capture() as capture:
        code = robustness.prepare_study(RobustnessConfig(**settings))(console)
    return code, capture.get()


@pytest.mark.slow
@pytest.mark.timeout(300)  # compiles noise and six attacks
def test_runs_are_evaluated_attacked_and_shown_and_nothing_is_done_twice(
    runs: dict[str, Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {
        "runs": (runs["xnor"].place, runs["fp"].place),
        "corruptions": ("contrast", "saturate"),
        "severities": "2,5",
        "examples": 12,
        "batch_size": 4,
        "attacks": (8.0,),
        "attack_images": 8,
        "steps": 1,
        "queries": 2,
        "twin": runs["fp"].place,
        "trace": "contrast",
        "workdir": tmp_path / "out",
    }
    code, output = do(**settings)
    assert code == 0
    assert f"report: {tmp_path / 'out' / 'robustness.html'}" in output
    records = json.loads((tmp_path / "out" / "robustness.json").read_text())
    attacks = json.loads((tmp_path / "out" / "attacks.json").read_text())
    assert [record["label"] for record in records] == ["xnor, none, seed 0", "fp, none, seed 0"]
    assert records[0]["mce"] == pytest.approx(100)
    for record, attacked in zip(records, attacks, strict=True):
        assert list(record["accuracy"]) == ["contrast", "saturate"]
        assert list(record["accuracy"]["contrast"]) == ["2", "5"]
        assert record["benchmark"] == ["contrast"]
        assert record["worst_case"] == {"8/255": attacked["eps"]["8/255"]["worst_case"]}
    with open(tmp_path / "out" / "robustness.csv") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * (1 + 4)
    page = (tmp_path / "out" / "robustness.html").read_text()
    for title in (
        "Side by side",
        "Accuracy against severity",
        "Where noise changes the feature maps",
        "Attacks",
    ):
        assert f"<h2>{title}</h2>" in page

    # The same command again finds everything; not a network is asked, not an attack is made.
    def refuse(*given: Any, **more: Any) -> Any:
        raise AssertionError("measured again")

    for name in ("attack_run", "predictor"):
        monkeypatch.setattr(robustness, name, refuse if name == "attack_run" else lambda *given: refuse)
    assert do(**settings)[0] == 0
    assert json.loads((tmp_path / "out" / "robustness.json").read_text()) == records


@pytest.mark.parametrize("changed", [{}, {"epochs": 2, "precision": "bfloat16"}], ids=["seed", "setting"])
def test_seeds_alone_are_put_together(
    runs: dict[str, Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    """Two runs of one setting: the table over seeds has one row, with the deviation."""
    other = runs["xnor"]
    twice = [other, other._replace(config=other.config.with_values(seed=1), place=tmp_path / "seed1")]
    record = json.loads((other.place / "config.json").read_text())
    record["config"] |= {"seed": 1, "workdir": str(tmp_path / "seed1"), "remat": True, **changed}
    (tmp_path / "seed1").mkdir()
    (tmp_path / "seed1" / "config.json").write_text(json.dumps(record))
    twice[1] = twice[1]._replace(params={**other.params, "extra": np.zeros(1)})  # another digest
    reads = iter(twice)
    monkeypatch.setattr(robustness, "read_trained", lambda place, dataset: next(reads))
    monkeypatch.setattr(robustness, "read_config", lambda place: other.config)
    code, output = do(
        runs=(other.place, tmp_path / "seed1"),
        corruptions=("contrast",),
        severities="5",
        batch_size=4,
        trace="none",
        workdir=tmp_path / "out",
    )
    assert code == 0
    labels = [record["label"] for record in json.loads((tmp_path / "out" / "robustness.json").read_text())]
    if changed:
        assert "over seeds" not in output
        assert labels == [
            "xnor, none, epochs 1, precision float32, seed 0",
            "xnor, none, epochs 2, precision bfloat16, seed 1",
        ]
        return
    assert labels == ["xnor, none, seed 0", "xnor, none, seed 1"]
    assert "over seeds" in output
    (row,) = (line for line in output.splitlines() if "resnet_tiny, xnor, none" in line)
    assert "± 0.00" in row


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_keeps_what_was_scored_and_the_same_command_goes_on(
    number: signal.Signals, runs: dict[str, Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def predict(images: np.ndarray) -> np.ndarray:
        asked.append(len(images))
        if len(asked) == 2:  # the clean images are the first
            os.kill(os.getpid(), number)
        return np.eye(10, dtype=np.float32)[np.zeros(len(images), int)]

    monkeypatch.setattr(robustness, "predictor", lambda *given: predict)
    settings: dict[str, Any] = {
        "runs": (runs["xnor"].place,),
        "corruptions": ("contrast", "saturate"),
        "severities": "5",
        "trace": "none",
        "workdir": tmp_path / "out",
    }
    code, output = do(**settings)
    assert (code, len(asked)) == (0, 2)
    kept = f"what was scored is kept in {tmp_path / 'out'}; rerun the command to resume"
    assert output.splitlines()[-1] == f"stopped by {number.name}; {kept}"
    assert not (tmp_path / "out" / "robustness.json").exists()
    code, output = do(**settings)
    assert (code, len(asked)) == (0, 3)
    assert output.splitlines()[-1] == f"report: {tmp_path / 'out' / 'robustness.html'}"


def test_severities_that_a_set_lacks_are_told_with_those_that_it_has(
    runs: dict[str, Trained], tmp_path: Path
) -> None:
    for label in range(10):
        file = tmp_path / "set" / "fog" / "3" / f"class{label}" / "image.png"
        file.parent.mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(file)
    settings = {"runs": (runs["xnor"].place,), "images": tmp_path / "set", "workdir": tmp_path / "out"}
    with pytest.raises(ValueError, match=r"there is no severity 1 in image folders in .*; there are 3$"):
        robustness.prepare_study(RobustnessConfig(**settings))
    (tmp_path / "set" / "fog" / "3" / "class9" / "image.png").write_bytes(b"cut")
    work = robustness.prepare_study(RobustnessConfig(**settings, severities="3"))
    with pytest.raises(DataError, match=r"cannot read .*class9/image\.png, it is damaged"):
        work(Console(quiet=True))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"runs": (Path("nowhere"),)}, "nowhere is not the directory of a run"),
        ({"corruptions": ("rain",)}, "there is no corruption rain in generated from tiny test images"),
        ({"examples": 21}, "cannot use 21 of 20 images: allowed is 1 to 20"),
        ({"attacks": (8.0,), "attack_images": 21}, "attack_images must be at most 20; got 21"),
        ({"trace": "rain"}, "trace must be none or one of gaussian_noise, "),
        ({"workdir": Path(__file__)}, f"work directory {__file__} is a file; choose another --workdir"),
        ({"images": Path("nowhere")}, "the directory of corrupted images nowhere does not exist"),
    ],
)
def test_wrong_input_is_told_before_anything_is_measured(
    settings: dict[str, Any], sentence: str, runs: dict[str, Trained], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=sentence):
        robustness.prepare_study(
            RobustnessConfig(**{"runs": (runs["xnor"].place,), "workdir": tmp_path / "out", **settings})
        )


def test_a_twin_is_in_full_precision(runs: dict[str, Trained]) -> None:
    place = runs["xnor"].place
    with pytest.raises(ValueError, match=f"the twin {place} has method xnor; fp is needed"):
        robustness.prepare_study(RobustnessConfig(runs=(place,), attacks=(8.0,), attack_images=8, twin=place))
