"""The configuration: what it refuses, how recipes fill it in, what it imports."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bnnjax.config import Config, L1InfConfig, Recipe, to_json


@pytest.mark.parametrize("name", ["batch_size", "epochs", "train_examples", "checkpoint_every"])
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


def test_a_recipe_fills_in_what_was_left_out_and_nothing_else() -> None:
    recipe = Recipe(optimizer="adamw", learning_rate=0.5, weight_decay=0.25, batch_size=3, epochs=7)
    filled = Config(epochs=2, weight_decay=0.0).with_recipe(recipe)
    assert (filled.optimizer, filled.learning_rate, filled.batch_size) == ("adamw", 0.5, 3)
    assert (filled.epochs, filled.weight_decay) == (2, 0.0)
    assert filled.with_recipe(Recipe()) == filled


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 1  # type: ignore[misc]


def test_json_holds_every_field_and_paths_as_text() -> None:
    config = Config(data_dir=Path("/data"), constraint="l1inf", l1inf=L1InfConfig(radius=3.0))
    tree = json.loads(json.dumps(to_json(config)))
    assert tree.keys() == {field.name for field in dataclasses.fields(Config)}
    assert tree["data_dir"] == "/data"
    assert tree["l1inf"]["radius"] == 3.0
    assert tree["common"]["epochs"] == 400
    assert tree["wbits"] is None


def test_the_command_line_is_parsed_without_anything_heavy() -> None:
    code = (
        "import sys; from bnnjax.cli import parse; from bnnjax.config import Config; "
        "parse(Config(), 'text', 'prog', ['--epochs=3']); "
        "print(*{'jax', 'flax', 'numpy', 'tensorflow_datasets', 'matplotlib', 'orbax'} & set(sys.modules))"
    )
    root = Path(__file__).parents[1]
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=root
    )
    assert result.stdout.split() == []
