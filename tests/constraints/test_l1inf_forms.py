"""The forms of the L1,inf constraint that have files of their own: init, floor and agreement."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.bounds.chain import UnitStats
from bnnjax.config.constraints import L1InfConfig
from bnnjax.config.training import Config
from bnnjax.constraints import After, make_constraint
from bnnjax.constraints.l1inf import l1inf
from bnnjax.models.figures import tabulate_units

CHAIN = ("stem", "conv", "head")
SHAPES = {"stem": (3, 3, 4, 2), "conv": (5, 5, 4, 3), "head": (400, 10)}  # fan-in 36, 100, 400


def units(**gains):
    """Units with ones in all fields but the gains."""
    return {
        name: UnitStats(*[jnp.ones(len(gain))] * len(UnitStats._fields))._replace(gain=jnp.array(gain))
        for name, gain in gains.items()
    }


FRESH = units(stem=[1.0, 1.0], conv=[1.0, 1.0, 1.0], head=[1.0] * 10)


# R / sqrt(n) by hand; at R = 6 the stem's is 1 exactly.
@pytest.mark.parametrize(
    ("radius", "layers", "stem", "conv"),
    [
        (6.0, (), 1.0, 0.6),
        (3.0, (), 0.5, 0.3),
        (1e6, (), 1.0, 1.0),
        (6.0, ("stem=3", "conv=0.5"), 1 / 3, 1.0),
        (6.0, ("*=2", "conv=0"), 0.5, None),
    ],
)
def test_init_gains_are_the_radius_over_the_root_of_the_fan_in(radius, layers, stem, conv):
    constraint = l1inf(L1InfConfig(form="init", radius=radius, layers=layers), CHAIN)
    assert (constraint.penalty, constraint.project_gains) == (None, None)
    gains = constraint.first_gains(FRESH, SHAPES)
    expected = {"stem": [stem] * 2} | ({} if conv is None else {"conv": [conv] * 3})
    assert gains.keys() == expected.keys()
    for name, gain in expected.items():
        np.testing.assert_allclose(gains[name], gain, rtol=1e-6)


def test_init_clips_the_gains_of_a_network_that_training_begins_from():
    trained = units(stem=[-2.0, 0.1], conv=[0.6, -0.6, 0.7], head=[1.0] * 10)
    gains = l1inf(L1InfConfig(form="init", radius=6.0), CHAIN).first_gains(trained, SHAPES)
    np.testing.assert_allclose(gains["stem"], [-1, 0.1], rtol=1e-6)
    np.testing.assert_allclose(gains["conv"], [0.6, -0.6, 0.6], rtol=1e-6)


def test_init_changes_the_first_gains_of_a_combination_and_nothing_else(train):
    one = make_constraint(Config(constraint="l1inf", l1inf=L1InfConfig(form="init", radius=6.0)), CHAIN)
    np.testing.assert_allclose(one.first_gains(FRESH, SHAPES)["conv"], 0.6, rtol=1e-6)
    np.testing.assert_array_equal(one.first_gains(FRESH, SHAPES)["head"], 1)
    _, (plain,) = train(0)
    _, (state,) = train(0, constraint="l1inf,kure", l1inf=L1InfConfig(form="init", radius=4.0))
    roots = {"stem": 27, "stage1_block1/conv1": 72, "stage2_block1/conv2": 144, "stage2_block1/shortcut": 8}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.params):
        names = [key.key for key in path]
        before = plain.params
        for name in names:
            before = before[name]
        unit = "/".join(names[:-2])
        if names[-2:] == ["norm", "gain"] and unit in roots:
            before = min(1, 4 / np.sqrt(roots.pop(unit)))
        elif names[-2:] == ["norm", "gain"]:
            continue
        np.testing.assert_allclose(leaf, before, rtol=1e-6)
    assert roots == {}


def test_floor_clips_gains_and_leaves_the_limit_the_classifier_and_units_of_weight_zero():
    constraint = l1inf(L1InfConfig(form="floor", layers=("stem=0",)), CHAIN)
    assert constraint.penalty is None
    before = units(stem=[3.0, -3.0], conv=[1.0, -1.5, 0.2], head=[2.0] * 10)
    for gains in (constraint.project_gains(After(before), ()), constraint.first_gains(before, SHAPES)):
        assert gains.keys() == {"conv"}
        np.testing.assert_array_equal(gains["conv"], np.float32([1, -1, 0.2]))


def test_floor_holds_the_radius_in_training(train):
    settings = L1InfConfig(form="floor", radius=0.5, layers=("stem=0", "*/conv2=2"))
    network, states = train(3, constraint="l1inf", l1inf=settings, learning_rate=1.0)
    measured = jax.jit(network.units)
    for state in states:
        norms = {n: float(unit.norm) for n, unit in measured(state.params, state.batch_stats).items()}
        assert norms.pop("stem") > 1
        norms.pop("head")
        for name, norm in norms.items():
            assert norm <= (0.25 if name.endswith("conv2") else 0.5) * (1 + 1e-6), name
        assert max(norms.values()) > 0.4
    gains = [state.params["stage1_block1"]["conv1"]["norm"]["gain"] for state in states]
    assert max(gain.max() for gain in gains) == 1
    assert not np.array_equal(gains[0], gains[-1])
    rows = {row["unit"]: row["l1inf"] for row in tabulate_units(network, *states[-1][1:3])}
    assert max(norm for name, norm in rows.items() if name not in ("stem", "head")) <= 0.5 * (1 + 1e-6)
