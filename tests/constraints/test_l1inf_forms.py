"""The forms of the L1,inf constraint that have files of their own: init, floor and agreement."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.bounds.chain import UnitStats
from bnnjax.config.constraints import L1InfConfig
from bnnjax.config.training import Config
from bnnjax.constraints import After, Seen, make_constraint
from bnnjax.constraints.l1inf import l1inf

CHAIN = ("stem", "conv", "head")
SHAPES = {"stem": (3, 3, 4, 2), "conv": (5, 5, 4, 3), "head": (400, 10)}  # fan-in 36, 100, 400


def units(**gains):
    """Units with ones in all fields but the gains."""
    return {
        name: UnitStats(*[jnp.ones(len(gain))] * 7)._replace(gain=jnp.array(gain))
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


def test_init_sets_the_first_gains_of_a_network_under_several_constraints(train):
    one = make_constraint(Config(constraint="l1inf", l1inf=L1InfConfig(form="init", radius=6.0)), CHAIN)
    np.testing.assert_allclose(one.first_gains(FRESH, SHAPES)["conv"], 0.6, rtol=1e-6)
    np.testing.assert_array_equal(one.first_gains(FRESH, SHAPES)["head"], 1)
    _, (state,) = train(0, constraint="l1inf,kure", l1inf=L1InfConfig(form="init", radius=4.0))
    found = {
        "/".join(key.key for key in path[:-1]): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(state.params)
        if path[-1].key == "gain"
    }
    np.testing.assert_array_equal(found.pop("head/input_norm"), 1)
    fan_ins = {"stem": 27, "stage1_block1/conv1": 72, "stage1_block1/conv2": 72}
    fan_ins |= {"stage2_block1/conv1": 72, "stage2_block1/conv2": 144, "stage2_block1/shortcut": 8}
    assert found.keys() == {f"{name}/norm" for name in fan_ins}
    for name, fan_in in fan_ins.items():
        np.testing.assert_allclose(found[f"{name}/norm"], min(1, 4 / np.sqrt(fan_in)), rtol=1e-6)


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


def agreeing(l1, variance):
    unit = UnitStats(*[jnp.ones(len(l1))] * 7)
    return unit._replace(l1=jnp.array(l1), batch_variance=jnp.array(variance))


# 100 binary inputs: uncorrelated, in agreement, and a filter without any.
AGREEING = {
    "stem": agreeing([2.0, 0.0], [0.5, 1e-5]),
    "conv": agreeing([100.0, 100.0, 0.0], [100.0, 1e4, 1e-5]),
    "head": agreeing([7.0], [2.0]),
}
SQUARES = {"stem": jnp.array([4.0, 0.0]), "conv": jnp.array([100.0, 100.0, 0.0])}


def agreement(units=AGREEING, squares=SQUARES, progress=1.0, **settings):
    config = L1InfConfig(**{"form": "agreement", "strength": 1.0, "noise": 0.5, **settings})
    seen = Seen(units, {}, jnp.float32(progress), squares=squares)
    value, state = l1inf(config, CHAIN).penalty(seen, ())
    assert state == ()
    return value


def test_agreement_is_the_mean_logarithm_of_the_votes_and_of_the_share_of_noise_in_the_stem():
    stem, conv = np.log(1 + 0.25 * 4 / 0.5) / 2, np.log(10) / 3
    np.testing.assert_allclose(agreement(), stem + conv, rtol=1e-6)
    weighed = agreement(strength=0.1, layers=("stem=3", "conv=0.5"))
    np.testing.assert_allclose(weighed, 0.1 * (3 * stem + 0.5 * conv), rtol=1e-6)
    np.testing.assert_allclose(agreement(noise=0.0), conv, rtol=1e-6)
    np.testing.assert_allclose(agreement(ramp=0.5, progress=0.25), (stem + conv) / 2, rtol=1e-6)
    assert l1inf(L1InfConfig(form="agreement"), CHAIN).project_gains is None


def test_agreement_differentiates_kernel_and_batch_variance_and_nothing_else():
    by_units, by_squares = jax.jit(jax.grad(agreement, (0, 1)))(AGREEING, SQUARES)
    by = {
        "stem": {"batch_variance": [-4 / 3 / 2, 0]},
        "conv": {"l1": [0.01 / 3, 0.01 / 3, 0], "batch_variance": [-0.01 / 6, -1e-4 / 6, 0]},
        "head": {},
    }
    for name, unit in by_units.items():
        for field in UnitStats._fields:
            expected = by[name].get(field, np.zeros(len(unit.l1)))
            np.testing.assert_allclose(getattr(unit, field), expected, rtol=1e-5, err_msg=f"{name} {field}")
    np.testing.assert_allclose(by_squares["stem"], [0.5 / 3 / 2, 0.25 / 1e-5 / 2], rtol=1e-5)
    assert not np.any(by_squares["conv"])


def test_agreement_does_not_see_the_scale_of_a_kernel():
    scaled = {
        name: unit._replace(l1=10 * unit.l1, batch_variance=100 * unit.batch_variance)
        for name, unit in AGREEING.items()
    }
    squares = {name: 100 * value for name, value in SQUARES.items()}
    np.testing.assert_allclose(agreement(scaled, squares), agreement(), rtol=1e-6)


@pytest.mark.slow
def test_agreement_grows_in_training(train):
    settings = L1InfConfig(form="agreement", strength=3.0)
    _, states = train(24, epochs=6, constraint="l1inf", l1inf=settings)
    first, last = (float(states[step].totals.penalty) for step in (4, 24))
    assert 0 < last < 0.9 * first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "agreement", "noise": -1.0}, "l1inf.noise must be 0 or positive, and finite; got -1.0"),
        ({"noise": 0.1}, "l1inf.noise is for l1inf.form agreement or reach; got 0.1 with soft"),
        ({"form": "agreement", "flips": 0.2}, "l1inf.flips is for .* reach; got 0.2 with agreement"),
        ({"form": "reach", "flips": 1.5}, r"l1inf.flips must be in \[0, 1\]; got 1.5"),
        ({"form": "reach", "tau": -1.0}, "l1inf.tau must be 0 or positive, and finite; got -1.0"),
        ({"form": "agreement", "radius": 3.0}, "is for .* hard, both, init or floor; got 3.0 with agreement"),
        ({"form": "agreement", "reduction": "sum"}, "is for .* soft or both; got sum with agreement"),
        ({"form": "floor", "bound": 3.0}, "l1inf.bound is for .* hard or both; got 3.0 with floor"),
        ({"form": "init", "strength": 1.0}, "is for .* soft, both, agreement or reach; got 1.0 with init"),
        ({"form": "floor", "target": "gain"}, "l1inf.form floor takes l1inf.target folded; got gain"),
    ],
)
def test_settings_of_another_form_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        L1InfConfig(**options)
