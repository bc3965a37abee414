"""A run of an earlier version of this package can be read."""

import json
import shutil
from pathlib import Path

import jax
import pytest
from runs import ROOT

from bnnjax.data.load import load
from bnnjax.models.figures import Measure
from bnnjax.runs.directory import is_finished
from bnnjax.runs.plan import prepare
from bnnjax.runs.saved import Trained, predictor, read_config, read_trained
from bnnjax.train.loop import accuracy, score


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(ROOT / "tests" / "old_run", tmp_path / "run")
    return tmp_path / "run"


def test_its_network_gives_the_figures_that_it_reported(old_run: Path, digits_dir: Path) -> None:
    summary = json.loads((old_run / "summary.json").read_text())
    dataset = load(read_config(old_run).with_values(data_dir=digits_dir))
    trained = read_trained(old_run, dataset)
    assert isinstance(trained, Trained)
    logits = predictor(trained, dataset, 60)(dataset.test.images)
    scores = score(logits, dataset.test.labels)
    assert accuracy(scores) == pytest.approx(summary["test_accuracy"], abs=0.3)  # at most one image
    assert float(scores.losses.mean()) == pytest.approx(summary["test_loss"], rel=1e-3)
    figures = Measure(trained.network)(trained.params, trained.batch_stats)
    assert figures["log_lipschitz_bound"] == pytest.approx(summary["log_lipschitz_bound"], rel=1e-5)
    assert sum(leaf.size for leaf in jax.tree.leaves(trained.params)) == summary["parameters"]


def test_the_command_that_made_it_finds_it_finished(old_run: Path, digits_dir: Path) -> None:
    plan = prepare(read_config(old_run).with_values(data_dir=digits_dir, workdir=old_run))
    with plan.held:
        assert plan.stages == (plan.run,)
        assert plan.run.is_known
        assert is_finished(plan.run.place)
