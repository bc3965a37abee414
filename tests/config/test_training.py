"""The configuration: what it rejects, how it is written down, what it imports."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from processes import Run, modules_loaded

from bnnjax.config.constraints import L1InfConfig, LCRConfig, ParsevalConfig, SpectralConfig
from bnnjax.config.json import from_json, to_json
from bnnjax.config.training import Config
from bnnjax.runs.resolve import resolve

COUNTS = ["batch_size", "epochs", "train_examples", "checkpoint_every", "accumulate", "base_batch_size"]


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, -1])
def test_counts_are_at_least_one(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be at least 1; got {value}$"):
        Config(**{name: value})


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay", "warmup_epochs", "latent_clip"])
@pytest.mark.parametrize("value", [-1e-9, math.nan, math.inf])
def test_rates_are_finite_and_not_negative(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be 0 or positive, and finite; got {value}$"):
        Config(**{name: value})
    assert getattr(Config(**{name: 0.0}), name) == 0.0


@pytest.mark.parametrize("name", ["momentum", "label_smoothing"])
@pytest.mark.parametrize("value", [-0.1, 1.0, math.nan])
def test_shares_are_below_one(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be in \[0, 1\); got {value}$"):
        Config(**{name: value})


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_has_32_bits(seed: int) -> None:
    with pytest.raises(ValueError, match=f"^seed must be between .*; got {seed}$"):
        Config(seed=seed)
    assert Config(seed=2**32 - 1).seed == 2**32 - 1


def test_settings_of_a_constraint_that_is_not_chosen_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^the l1inf settings act with constraint l1inf only; got none$"):
        Config(l1inf=L1InfConfig(strength=0.5))


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": -1.0},
        {"strength": -0.1},
        {"strength": math.nan},
        {"strength": math.inf},
        {"radius": 0.0},
        {"radius": math.nan},
    ],
)
def test_the_constraint_refuses_what_has_no_meaning(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^l1inf.{next(iter(values))} must be .*; got"):
        L1InfConfig(**values)


@pytest.mark.parametrize("target", ["gain", "weights", "scales"])
def test_the_hard_form_takes_the_folded_norm_alone(target: Any) -> None:
    with pytest.raises(ValueError, match=f"takes l1inf.target folded; got {target}"):
        L1InfConfig(form="hard", target=target)


@pytest.mark.parametrize(
    ("settings", "values", "sentence"),
    [
        (
            L1InfConfig,
            {"radius": 3.0},
            "l1inf.radius is for l1inf.form hard, both, init or floor; got 3.0 with soft",
        ),
        (
            L1InfConfig,
            {"form": "hard", "strength": 0.1},
            "l1inf.strength is for .* soft, both, agreement or reach; got 0.1 with hard",
        ),
        (
            L1InfConfig,
            {"form": "both", "bound": 5.0, "radius": 3.0},
            "in place of l1inf.radius; got 5.0 and 3.0",
        ),
        (LCRConfig, {"gains": True, "form": "paper"}, "lcr.gains is for lcr.form repo; got True with paper"),
        (LCRConfig, {"iterations": 3}, "lcr.iterations is for lcr.form paper; got 3 with repo"),
        (SpectralConfig, {"radius": 3.0}, "spectral.radius is for .* normalize; got 3.0 with regularize"),
        (
            SpectralConfig,
            {"form": "normalize", "strength": 1.0},
            "is for .* regularize; got 1.0 with normalize",
        ),
        (ParsevalConfig, {"beta": 0.5}, "parseval.beta is for .* retraction; got 0.5 with penalty"),
        (
            ParsevalConfig,
            {"form": "retraction", "strength": 1.0},
            "is for .* penalty; got 1.0 with retraction",
        ),
        (
            Config,
            {"optimizer": "adamw", "momentum": 0.5},
            "momentum is for optimizer sgd; got 0.5 with adamw",
        ),
        (
            Config,
            {"optimizer": "adamw", "nesterov": True},
            "nesterov is for optimizer sgd; got True with adamw",
        ),
        (Config, {"augment_share": 0.1}, "augment_share is for augment noise; got 0.1 with none"),
        (
            Config,
            {"augment": "noise", "augment_share": 0.0},
            r"augment_share must be in \[0.0001, 1\]; got 0.0",
        ),
        (Config, {"augment": "noise", "augment_sigma": 0.0}, "augment_sigma must be above 0.*; got 0.0"),
        (Config, {"image_size": 64}, "image_size is for data set imagenet2012; got 64 with cifar10"),
        (
            Config,
            {"dataset": "imagenet2012", "geometry": "crop"},
            "geometry is for data sets of small images; got crop with imagenet2012",
        ),
        (Config, {"dataset": "digits", "data_workers": 2}, "is for .* imagenet2012; got 2 with digits"),
        (Config, {"data_timeout": 5.0}, "data_timeout is for data set imagenet2012; got 5.0 with cifar10"),
        (Config, {"skip_corrupt": True}, "skip_corrupt is for data set imagenet2012; got True with cifar10"),
        (Config, {"dataset": "digits", "archive": Path("x")}, "archive is for .* cifar10; got x with digits"),
        (Config, {"base_batch_size": 64}, "is for scale_learning_rate linear or sqrt; got 64 with none"),
    ],
)
def test_what_would_do_nothing_is_refused(settings: Any, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        settings(**values)
    assert L1InfConfig(form="both", radius=3.0, strength=0.1).radius == 3.0


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 1  # type: ignore[misc]


def test_json_holds_every_field_and_paths_as_text() -> None:
    config = Config(data_dir=Path("/data"), constraint="l1inf", l1inf=L1InfConfig(form="hard", radius=3.0))
    tree = json.loads(json.dumps(to_json(resolve(config))))
    assert tree.keys() == {"common"} | {field.name for field in dataclasses.fields(Config)}
    assert tree["data_dir"] == "/data"
    assert tree["l1inf"]["radius"] == 3.0
    assert tree["common"]["epochs"] == 400
    assert tree["pretrained"] is None


@pytest.mark.parametrize(
    "config",
    [
        Config(workdir=Path("/runs/b")),
        Config(
            data_dir=Path("/data/here"),
            workdir=Path("/runs/a"),
            pretrained=Path("/b"),
            teacher=Path("/c"),
            constraint="l1inf,lcr",
            l1inf=L1InfConfig(form="hard", radius=0.1 + 0.2, layers=("a=1", "b=0")),
            lcr=LCRConfig(teacher=Path("/d"), gains=True),
            optimizer="adamw",
            epochs=3,
            wbits=1,
            structure="plain",
            learning_rate=5e-324,
        ),
    ],
)
def test_a_configuration_comes_back_from_json_as_it_was(config: Config) -> None:
    resolved = resolve(config)
    tree = json.loads(json.dumps(to_json(resolved)))
    assert from_json(tree) == resolved
    assert to_json(from_json(tree)) == tree
    assert isinstance(from_json(tree).l1inf, L1InfConfig)


def test_json_holds_paths_that_hold_everywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    tree = to_json(Config(data_dir=Path("data"), constraint="lcr", lcr=LCRConfig(teacher=Path("../a"))))
    assert tree["data_dir"] == str(tmp_path / "data")
    assert Path(tree["lcr"]["teacher"]).is_absolute()
    assert tree["archive"] is None


def test_json_of_an_older_version_gets_the_defaults_and_of_a_newer_one_is_refused() -> None:
    tree = to_json(resolve(Config(seed=5, workdir=Path("/runs/a"))))
    del tree["teacher"], tree["l1inf"]["radius"]
    assert from_json(tree) == resolve(Config(seed=5, workdir=Path("/runs/a")))
    with pytest.raises(ValueError, match=r"^L1InfConfig has no field shape$"):
        from_json(tree | {"l1inf": {"shape": 1}})
    with pytest.raises(ValueError, match=r"^epochs must be at least 1; got 0$"):
        from_json(tree | {"epochs": 0})
    with pytest.raises(ValueError, match=r"^ResolvedConfig needs epochs; got None$"):
        from_json(tree | {"epochs": None})
    del tree["epochs"]
    with pytest.raises(TypeError, match="epochs"):
        from_json(tree)


def test_a_teacher_leaves_no_labels_to_be_smoothed() -> None:
    with pytest.raises(ValueError, match=r"^label_smoothing must be 0 with a teacher, .*; got 0.1$"):
        Config(teacher=Path("run"), label_smoothing=0.1)
    assert Config(teacher=Path("run")).teacher == Path("run")


def test_the_command_line_is_parsed_without_anything_heavy(run: Run) -> None:
    code = (
        "import bnnjax.config.presets, bnnjax.cli.launch; from bnnjax.cli.main import parse; "
        "from bnnjax.config.training import Config; parse(Config(), 'text', 'prog', ['--epochs=3'])"
    )
    names = "jax jaxlib flax optax orbax numpy matplotlib tensorflow tensorflow_datasets"
    assert modules_loaded(run, code, names) == []
