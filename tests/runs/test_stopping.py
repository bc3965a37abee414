"""A run that is told to stop while its network is tested; tests/faults has stops while it trains."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import tiny_experiment
from rich.console import Console

import bnnjax.runs.plan
import bnnjax.runs.results
from bnnjax.config.training import Config
from bnnjax.runs.plan import prepare
from bnnjax.runs.train import execute


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_test_under_noise_keeps_everything_and_the_same_command_finishes(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept: list[Path] = []

    def scores_one(config: Config, predict: Any, dataset: Any, advance: Any, place: Path) -> Any:
        kept.append(place)
        if place.exists():
            return None, None
        place.mkdir(parents=True)
        os.kill(os.getpid(), number)
        predict(dataset.test.images)
        raise AssertionError("it should have stopped")

    monkeypatch.setattr(bnnjax.runs.plan, "load", tiny_experiment.load)
    monkeypatch.setattr(bnnjax.runs.plan, "check_quick", lambda dataset: None)
    monkeypatch.setattr(bnnjax.runs.results, "quick", scores_one)
    monkeypatch.setattr(bnnjax.runs.results, "draw_plots", lambda **of: {})
    monkeypatch.setattr(bnnjax.runs.results, "write_report", lambda *of, **what: None)
    config = Config(
        dataset="digits",
        model="resnet_tiny",
        batch_size=8,
        epochs=1,
        train_examples=16,
        workdir=tmp_path / "run",
    )
    console = Console(width=300)
    with console.capture() as capture:
        assert execute(prepare(config), console) == 0
    everything = f"everything is saved in {tmp_path / 'run'}; rerun the command to resume"
    assert capture.get().splitlines()[-1] == f"stopped by {number.name} at step 2 of 2; {everything}"
    assert not (tmp_path / "run" / "summary.json").exists()
    assert execute(prepare(config), Console(quiet=True)) == 0
    assert kept[0] == kept[1]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["best_epoch"] == 1
    assert not (tmp_path / "run" / "noise").exists()
