"""A small study from its first run to its files: it resumes, and each row belongs to its setting."""

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
import bnnjax.runs.plan
from bnnjax.config.l1inf_study import L1InfStudyConfig
from bnnjax.runs import series
from bnnjax.studies import l1inf

SCRIPT = ROOT / "experiments" / "study_l1inf.py"
SETTINGS: dict[str, Any] = {
    "dataset": "digits",
    "model": "resnet_tiny",
    "epochs": 1,
    "batch_size": 32,
    "train_examples": 64,
    "seeds": 1,
    "targets": ("folded",),
    "strengths": (0.01,),
    "radii": (),
    "severities": (5,),
    "noise_images": 15,
    "noise": "none",
}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (l1inf, series, bnnjax.runs.plan):
        monkeypatch.setattr(module, "load", tiny_experiment.load)
    monkeypatch.setattr(bnnjax.report.style.plots, "png_bytes", tiny_experiment.picture)


def do(place: Path, **more: Any) -> tuple[int, str]:
    console = Console(width=300)
    with console.capture() as capture:
        code = l1inf.prepare_study(L1InfStudyConfig(**{**SETTINGS, "workdir": place, **more}))(console)
    return code, capture.get()


@pytest.mark.slow
@pytest.mark.timeout(300)  # four runs
def test_a_study_is_made_and_goes_on_with_another_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "study"
    code, output = do(place)
    assert code == 0
    assert output.splitlines()[-1] == f"study: {place / 'study.md'}, study.csv, study.png"
    names = ["none", "soft-folded-0.01"]
    configs = {
        name: json.loads((place / "runs" / f"{name}-seed0" / "config.json").read_text()) for name in names
    }
    assert [configs[name]["config"]["constraint"] for name in names] == ["none", "l1inf"]
    assert configs["soft-folded-0.01"]["config"]["l1inf"]["strength"] == 0.01

    executed: list[str] = []
    execute = series.execute

    def counted(plan: Any, console: Console) -> int:
        executed.append(plan.run.place.name)
        return execute(plan, console)

    monkeypatch.setattr(series, "execute", counted)
    assert do(place, seeds=2)[0] == 0
    assert executed == [f"{name}-seed1" for name in names]
    with open(place / "study.csv") as file:
        lines = {line["name"]: line for line in csv.DictReader(file)}
    assert list(lines) == names
    for name, line in lines.items():
        runs = [place / "runs" / f"{name}-seed{seed}" for seed in (0, 1)]
        noise = [json.loads((run / "noise.json").read_text()) for run in runs]
        summaries = [json.loads((run / "summary.json").read_text()) for run in runs]
        assert noise[0]["images"] == {"validation": 15, "test": 15}
        for kind in ("gaussian_noise", "impulse_noise", "gaussian_blur"):
            values = [one["test"][kind]["5"] for one in noise]
            assert float(line[f"{kind}_mean"]) == pytest.approx(statistics.mean(values))
            assert float(line[f"{kind}_std"]) == pytest.approx(statistics.stdev(values))
        values = [statistics.mean(each["5"] for each in one["validation"].values()) for one in noise]
        assert float(line["validation_noise_mean"]) == pytest.approx(statistics.mean(values))
        values = [summary["log_lipschitz_bound"] for summary in summaries]
        assert float(line["log_bound_mean"]) == pytest.approx(statistics.mean(values))
    # Other noise is measured anew, with nothing trained again.
    assert do(place, seeds=2, noise_images=10)[0] == 0
    again = json.loads((place / "runs" / "none-seed0" / "noise.json").read_text())
    assert again["images"] == {"validation": 10, "test": 10}
    assert len(executed) == 2
    page = (place / "study.md").read_text()
    assert "Of the soft folded settings soft-folded-0.01 has the highest validation accuracy" in page
    assert (place / "study.png").read_bytes()[:4] == b"\x89PNG"


def test_every_form_is_tried_with_every_seed(tmp_path: Path) -> None:
    config = L1InfStudyConfig(**{**SETTINGS, "workdir": tmp_path, "radii": (3.0, 10.0), "seeds": 2})
    runs = l1inf.study_runs(config)
    assert [(run.name, run.config.seed) for run in runs] == [
        (name, seed) for seed in (0, 1) for name in ("none", "soft-folded-0.01", "hard-3", "hard-10")
    ]
    hard = runs[2].config
    assert (hard.constraint, hard.l1inf.form, hard.l1inf.radius) == ("l1inf", "hard", 3)
    assert runs[2].place == tmp_path / "runs" / "hard-3-seed0"


def test_a_run_that_stops_stops_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "execute", lambda run, console: 0)
    assert do(tmp_path / "study")[0] == 0
    with open(tmp_path / "study" / "study.csv") as file:
        assert [line["runs"] for line in csv.DictReader(file)] == ["0", "0"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--targets", "fold"], "targets must be among folded, gain, weights, scales; got fold"),
        (["--severities", "6"], "severities must be among 1, 2, 3, 4, 5; got 6"),
        (["--strengths", "0"], "strengths must be positive and finite; got 0.0"),
        (["--radii", "-1"], "radii must be positive and finite; got -1.0"),
        (["--noise-images", "0"], "noise_images must be at least 1; got 0"),
    ],
)
def test_wrong_input_is_told_in_one_sentence(
    arguments: list[str], sentence: str, run: Run, tmp_path: Path
) -> None:
    result = run(SCRIPT, *arguments, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"study_l1inf.py: {sentence}\n"
    assert list(tmp_path.iterdir()) == []
