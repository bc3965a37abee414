"""Presets are configurations that can be run, and a command line chooses among them."""

import math

import pytest
from processes import Run
from runs import ROOT

from bnnjax.config.presets import DEFAULTS, PRESETS, defaults_for, expectation
from bnnjax.config.training import Config
from bnnjax.runs.resolve import resolve
from bnnjax.studies.published_rows import TABLE4

SCRIPT = ROOT / "experiments" / "imagenet.py"


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_configuration_with_a_source(name: str) -> None:
    config = defaults_for(["--preset", name, "--seed", "3"])
    resolved = resolve(config)
    preset = PRESETS[name]  # type: ignore[index]
    assert resolved.preset == name
    assert resolved.model == "resnet18_imagenet"
    for field, value in (vars(preset.recipe) | preset.values).items():
        assert getattr(resolved, field) == value
    assert "arXiv" in preset.source
    assert preset.differs


@pytest.mark.parametrize("name", ["irnet", "birealnet"])
def test_accuracies_are_those_of_the_table(name: str) -> None:
    for model, accuracy in PRESETS[name].accuracy.items():  # type: ignore[index]
        (row,) = [r for r in TABLE4 if (r.method, r.topology, r.wbits, r.abits) == (name, model, 1, 1)]
        assert (row.top1, row.top5) == accuracy


def test_a_run_is_told_what_to_expect() -> None:
    told = expectation("irnet", "resnet34_imagenet")
    assert told.startswith("preset irnet: 62.9 % top-1 is published (Qin et al. 2020")
    assert "4.4 hours on 8 A100" in told
    assert "nothing is published for resnet34" in expectation("reactnet", "resnet34")


def test_hours_are_epochs_at_the_speed_that_is_named() -> None:
    assert PRESETS["irnet"].hours == pytest.approx(100 * 1_281_167 / 8000 / 3600)
    assert all(1 < preset.hours < 24 and math.isfinite(preset.hours) for preset in PRESETS.values())


def test_the_command_line_chooses_in_either_spelling_and_without_one_nothing_changes() -> None:
    assert defaults_for(["--preset=reactnet"]) == defaults_for(["--seed", "1", "--preset", "reactnet"])
    assert defaults_for(["--seed", "1"]) == DEFAULTS
    assert defaults_for(["--preset", "none-such"]) == DEFAULTS


def test_a_preset_that_is_not_there_is_refused_with_those_that_are(run: Run) -> None:
    done = run(SCRIPT, "--preset", "xnor")
    assert done.returncode == 2
    assert "irnet" in done.stderr
    assert done.stderr.count("\n") == 1


def test_other_data_sets_have_none() -> None:
    with pytest.raises(ValueError, match="preset irnet is a recipe for imagenet2012; got cifar10"):
        Config(preset="irnet")
