"""A small table from its first run to its files: it resumes, and nothing runs twice."""

import csv
import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import tiny_experiment
from processes import Run
from rich.console import Console
from runs import ROOT

import bnnjax.report.style.plots
import bnnjax.runs.train
from bnnjax.config.table import TableConfig
from bnnjax.runs import series
from bnnjax.runtime.exit_codes import STOPPED_BY_LOSS
from bnnjax.studies import tables
from bnnjax.studies.published_rows import Row, Table

EXPERIMENTS = ROOT / "experiments"
ROWS = Table(
    "cifar10",
    [
        Row("resnet_tiny", "irnet", 1, 1, "bireal", 86.5, None, "a table"),
        Row("resnet_tiny", "fp", 32, 32, "plain", 91.7, None, "a table", "another"),
    ],
    [Row("vgg_tiny", "bnn", 1, 1, "plain", None)],
)
SETTINGS = {
    "table": "tiny",
    "dataset": "digits",
    "epochs": 1,
    "batch_size": 32,
    "train_examples": 64,
    "noise": "none",
}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(tables.TABLES, "tiny", ROWS)
    monkeypatch.setattr(series, "load", tiny_experiment.load)
    monkeypatch.setattr(bnnjax.runs.plan, "load", tiny_experiment.load)
    monkeypatch.setattr(bnnjax.report.style.plots, "png_bytes", tiny_experiment.picture)
    monkeypatch.chdir(tmp_path)


def fill(place: Path, **more: Any) -> tuple[int, str]:
    console = Console(width=300)
    with console.capture() as capture:
        code = tables.prepare_table(TableConfig(**{**SETTINGS, "workdir": place, **more}))(console)
    return code, capture.get()


def lines_of(place: Path) -> dict[str, dict[str, str]]:
    with open(place / "table.csv") as file:
        return {line["row"]: line for line in csv.DictReader(file)}


def accuracies(place: Path, row: str) -> list[float]:
    files = sorted((place / "runs").glob(f"{row}-seed*/summary.json"))
    return [json.loads(file.read_text())["test_accuracy"] for file in files]


@pytest.mark.slow
@pytest.mark.timeout(300)  # five runs
def test_a_table_is_filled_and_more_seeds_and_rows_go_on_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "table"
    code, output = fill(place, seeds=2)
    assert code == 0
    names = [row.name for row in ROWS.rows]
    told = [line for line in output.splitlines() if line.startswith("run ")]
    assert told == [
        f"run {2 * seed + n + 1} of 4: {name}, seed {seed}" for seed in (0, 1) for n, name in enumerate(names)
    ]
    lines = lines_of(place)
    assert list(lines) == names
    for name, line in lines.items():
        values = accuracies(place, name)
        assert len(values) == int(line["runs"]) == 2
        assert float(line["test_accuracy_mean"]) == pytest.approx(statistics.mean(values))
        assert float(line["test_accuracy_std"]) == pytest.approx(statistics.stdev(values))
        assert line["learning_rate"] == "0.1"
        assert (line["epochs"], line["batch_size"], line["train_examples"]) == ("1", "32", "64")
    page = (place / "table.md").read_text()
    assert page.count("| resnet_tiny") == 2
    assert "86.5 †" in page
    assert "91.7 " in page
    assert "91.7 †" not in page
    assert (place / "table.tex").read_text().count("resnet\\_tiny") == 2
    config = json.loads((place / "runs" / f"{names[0]}-seed1" / "config.json").read_text())["config"]
    assert (config["seed"], config["method"], config["structure"]) == (1, "irnet", "bireal")

    # Nothing is left to do; then one row more, of which alone something runs.
    executed: list[str] = []
    execute = series.execute

    def counted(plan: Any, console: Console) -> int:
        executed.append(plan.run.place.name)
        return execute(plan, console)

    monkeypatch.setattr(series, "execute", counted)
    before = (place / "table.csv").read_bytes()
    assert fill(place, seeds=2)[0] == 0
    assert executed == []
    assert (place / "table.csv").read_bytes() == before
    assert fill(place, seeds=1, rows=("irnet", "beyond"))[0] == 0
    assert executed == ["vgg_tiny-bnn-1-1-plain-seed0"]
    assert {name: line["runs"] for name, line in lines_of(place).items()} == {
        "resnet_tiny-irnet-1-1-bireal": "1",
        "vgg_tiny-bnn-1-1-plain": "1",
    }


def test_a_run_that_diverges_is_counted_and_a_stopped_one_stops_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = iter([STOPPED_BY_LOSS, 0])
    monkeypatch.setattr(series, "execute", lambda run, console: next(codes))
    assert fill(tmp_path / "table", seeds=2)[0] == 0
    assert next(codes, None) is None  # the third of four was not begun
    lines = lines_of(tmp_path / "table")
    assert [(line["runs"], line["diverged"]) for line in lines.values()] == [("0", "1"), ("0", "0")]
    assert "(0 runs, 1 diverged)" in (tmp_path / "table" / "table.md").read_text()


def test_imagenet_networks_have_their_stem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for dataset, model in (("imagenet2012", "resnet18_imagenet"), ("cifar10", "resnet18")):
        config = TableConfig(table="table4", dataset=dataset, rows=("xnor",), seeds=1)
        (run,) = tables.table_runs(config, tmp_path)
        assert run.config.model == model
        assert run.place == tmp_path / "runs" / "resnet18-xnor-1-1-plain-seed0"
    assert run.config.epochs == 400


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rows": ("irnett",)}, "no row is called 'irnett'; allowed are all, beyond, a topology"),
        ({"seeds": 0}, "seeds must be at least 1; got 0"),
        ({"epochs": 0}, "epochs must be at least 1; got 0"),
    ],
)
def test_wrong_input_is_refused_before_anything_runs(
    tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        fill(tmp_path / "table", **change)
    assert list(tmp_path.iterdir()) == []


def test_other_settings_in_the_same_place_are_refused(tmp_path: Path) -> None:
    place = tmp_path / "table"
    fill(place, seeds=1, rows=("fp",))
    with pytest.raises(ValueError, match=r"belongs to another configuration: epochs is 1 there, 2 here"):
        fill(place, seeds=1, epochs=2)


@pytest.mark.parametrize("script", ["table3.py", "table4.py"])
def test_the_command_tells_in_one_sentence_what_is_wrong(script: str, run: Run, tmp_path: Path) -> None:
    command = (EXPERIMENTS / script, "--dataset=digits", "--rows", "irnet", "nothing")
    result = run(*command, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"{script}: no row is called 'nothing'; allowed are all, beyond, a topology")
    assert list(tmp_path.iterdir()) == []
