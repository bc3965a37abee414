"""The L1,inf constraint: which norm each target means, both reductions, its gradients, and the projection."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.bounds.chain import Residual, Slope, UnitStats
from bnnjax.bounds.lipschitz import network_log_bound
from bnnjax.config.constraints import L1InfConfig
from bnnjax.config.training import Config
from bnnjax.constraints import After, Seen, make_constraint
from bnnjax.constraints.l1inf import l1inf

CHAIN = (Residual((), ("a",)), "b")
UNITS = {
    "a": UnitStats(
        l1=jnp.array([18.0, 9.0, 0.0]),
        latent_l1=jnp.array([3.0, 5.0, 0.0]),
        scale=jnp.array([2.0, 1.0, 0.0]),
        gain=jnp.array([0.5, -3.0, 1.0]),
        variance=jnp.array([4.0, 9.0, 1.0]),
        batch_variance=jnp.array([16.0, 2.25, 1.0]),
        slope=jnp.array([1.0, 1.0, 1.0]),
    ),
    "b": UnitStats(
        l1=jnp.array([4.0]),
        latent_l1=jnp.array([4.0]),
        scale=jnp.array([1.0]),
        gain=jnp.array([1.0]),
        variance=jnp.array([1.0]),
        batch_variance=jnp.array([4.0]),
        slope=jnp.array([1.0]),
    ),
}
# By hand, channel by channel.
NORMS = {
    "folded": (9.0, 4.0),  # max(0.5/2 18, 3/3 9, 0), 1/1 4
    "gain": (6.0, 2.0),  # max(18/4, 9/1.5, 0), 4/2
    "weights": (5.0, 4.0),  # max(3, 5, 0), 4
    "scales": (18.0, 4.0),  # max(2 9, 1 9, 0), 1 4
}


def seen(units, progress=1.0):
    return Seen(units, {}, jnp.float32(progress))


def penalty(units=UNITS, progress=1.0, chain=CHAIN, **options):
    value, state = l1inf(L1InfConfig(**options), chain).penalty(seen(units, progress), ())
    assert state == ()
    return value


def project(config, units=UNITS, chain=CHAIN):
    return l1inf(config, chain).project_gains(After(units), ())


@pytest.mark.parametrize("target", NORMS)
def test_penalty_is_the_logarithm_of_the_bound_or_the_sum_of_norms(target):
    a, b = NORMS[target]
    bound = penalty(target=target, strength=0.5)
    np.testing.assert_allclose(bound, 0.5 * (np.log(1 + a) + np.log(b)), rtol=1e-6)
    np.testing.assert_allclose(
        penalty(target=target, strength=0.5, reduction="sum"), 0.5 * (a + b), rtol=1e-6
    )


def test_folded_penalty_is_the_bound_of_the_network():
    np.testing.assert_allclose(penalty(strength=1.0), network_log_bound(CHAIN, UNITS), rtol=1e-6)


def test_temperature_smooths_the_maximum_from_above():
    options = {"strength": 1.0, "reduction": "sum"}
    smooth = penalty(temperature=2.0, **options)
    expected = 2 * np.log(np.exp(4.5 / 2) + np.exp(9 / 2) + np.exp(0)) + 4
    np.testing.assert_allclose(smooth, expected, rtol=1e-6)
    assert smooth > penalty(**options) == 13


def test_strength_zero_is_no_penalty():
    assert penalty(strength=0.0) == 0


# The channel that attains the maximum of unit a is 1 (0 for scales); its derivative by each field, by hand.
@pytest.mark.parametrize(
    ("target", "channel", "by"),
    [
        ("folded", 1, {"l1": 3 / 3, "gain": -9 / 3}),
        ("gain", 1, {"l1": 1 / 1.5, "batch_variance": -0.5 * 9 / 1.5**3}),
        ("weights", 1, {"latent_l1": 1}),
        ("scales", 0, {"scale": 9}),
    ],
)
def test_gradient_reaches_what_the_target_means_and_nothing_else(target, channel, by):
    gradient = jax.grad(lambda u: penalty(u, target=target, reduction="sum", strength=1.0))(UNITS)["a"]
    for field in UnitStats._fields:
        expected = np.zeros(3)
        expected[channel] = by.get(field, 0)
        np.testing.assert_allclose(getattr(gradient, field), expected, rtol=1e-5, err_msg=field)


def test_gradient_is_finite_for_a_network_of_zeros():
    zeros = jax.tree.map(jnp.zeros_like, UNITS)
    zeros = {
        k: u._replace(variance=u.variance + 1e-5, batch_variance=u.batch_variance + 1e-5)
        for k, u in zeros.items()
    }
    for target in NORMS:
        gradient = jax.grad(lambda u, t=target: penalty(u, target=t, temperature=0.1))(zeros)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


SLOPED = (Residual((), ("a", Slope("a"))), "b")
STEEP = {**UNITS, "a": UNITS["a"]._replace(slope=jnp.array([2.0, 1.0, 5.0]))}


@pytest.mark.parametrize("temperature", [0.0, 1e-3])
@pytest.mark.parametrize("target", NORMS)
def test_a_learned_activation_multiplies_the_bound_whatever_the_target(target, temperature):
    options = {"target": target, "strength": 0.5, "temperature": temperature}
    a, b = NORMS[target]
    value, gradient = jax.value_and_grad(lambda units: penalty(units, chain=SLOPED, **options))(STEEP)
    np.testing.assert_allclose(value, 0.5 * (np.log(1 + 5 * a) + np.log(b)), rtol=1e-5)
    np.testing.assert_allclose(gradient["a"].slope, [0, 0, 0.5 * a / (1 + 5 * a)], rtol=1e-5)


@pytest.mark.parametrize("target", NORMS)
def test_a_learned_activation_takes_no_part_in_the_sum_of_norms(target):
    value = penalty(STEEP, chain=SLOPED, target=target, strength=0.5, reduction="sum")
    np.testing.assert_allclose(value, 0.5 * sum(NORMS[target]), rtol=1e-6)


def test_a_learned_activation_does_not_change_the_projection():
    config = L1InfConfig(form="hard", radius=5.0)
    projected, plain = project(config, STEEP, SLOPED), project(config, UNITS, SLOPED)
    assert projected.keys() == plain.keys() == UNITS.keys()
    for name, gain in plain.items():
        np.testing.assert_array_equal(projected[name], gain)


# Rescaling a latent kernel W -> 10 W changes its l1, latent l1, scale and (batch) variances, and no output.
@pytest.mark.parametrize(
    ("target", "sees"), [("folded", False), ("gain", False), ("weights", True), ("scales", True)]
)
def test_only_the_naive_targets_see_the_scale_of_a_latent_kernel(target, sees):
    scaled = {
        name: UnitStats(
            l1=10 * unit.l1,
            latent_l1=10 * unit.latent_l1,
            scale=10 * unit.scale,
            gain=unit.gain,
            variance=100 * unit.variance,
            batch_variance=100 * unit.batch_variance,
            slope=unit.slope,
        )
        for name, unit in UNITS.items()
    }
    before, after = (float(penalty(units, target=target, strength=1.0)) for units in (UNITS, scaled))
    assert (abs(after - before) > 1) == sees
    if not sees:
        np.testing.assert_allclose(after, before, rtol=1e-5)


@pytest.mark.parametrize("radius", [0.1, 5.0, 100.0])
def test_hard_form_projects_each_gain_to_its_box(radius):
    config = L1InfConfig(form="hard", radius=radius)
    assert l1inf(config, CHAIN).penalty is None
    gains = project(config)
    # |g| <= radius sqrt(v) / l1; the filter of zeros is free.
    limits = {"a": radius * np.array([2 / 18, 3 / 9, np.inf]), "b": radius * np.array([1 / 4])}
    assert gains.keys() == limits.keys()
    for name, limit in limits.items():
        np.testing.assert_allclose(gains[name], np.clip(UNITS[name].gain, -limit, limit), rtol=1e-6)
        assert UNITS[name]._replace(gain=gains[name]).norm <= radius * (1 + 1e-6)


def test_soft_form_has_no_projection():
    assert l1inf(L1InfConfig(), CHAIN).project_gains is None


def test_configuration_names_the_constraint():
    none = make_constraint(Config(constraint="none"), CHAIN)
    assert (none.name, none.penalty, none.project_gains) == ("none", None, None)
    soft = make_constraint(Config(constraint="l1inf", l1inf=L1InfConfig(strength=2.0)), CHAIN)
    assert soft.name == "l1inf"
    np.testing.assert_allclose(soft.penalty(seen(UNITS), ((),))[0], 2 * np.log(40), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "l1inf.temperature must be .*; got -1.0"),
        ({"strength": -0.1}, "l1inf.strength must be .*; got -0.1"),
        ({"radius": 0.0}, "l1inf.radius must be positive.*; got 0.0"),
        ({"form": "hard", "target": "gain"}, "l1inf.form hard takes l1inf.target folded; got gain"),
        ({"form": "both", "target": "gain"}, "l1inf.form both takes l1inf.target folded; got gain"),
        ({"ramp": 1.5}, r"l1inf.ramp must be in \[0, 1\]; got 1.5"),
        ({"form": "hard", "bound": 0.0}, "l1inf.bound must be positive.*; got 0.0"),
        ({"bound": 5.0}, "l1inf.bound is for l1inf.form hard or both; got 5.0 with soft"),
        ({"layers": ("stem",)}, "l1inf.layers must be PATTERN=WEIGHT, .*; got stem"),
        ({"layers": ("=2",)}, "l1inf.layers must be PATTERN=WEIGHT, .*; got =2"),
        ({"layers": ("stem=-1",)}, "l1inf.layers must be PATTERN=WEIGHT, .*; got stem=-1"),
    ],
)
def test_settings_outside_their_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        L1InfConfig(**options)


@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.0), (0.1, 0.4), (0.25, 1.0), (0.9, 1.0)])
def test_a_ramp_raises_the_strength_on_a_line(progress, share):
    whole = penalty(strength=0.5)
    np.testing.assert_allclose(penalty(strength=0.5, ramp=0.25, progress=progress), share * whole, rtol=1e-6)


def test_weights_count_in_the_penalty_and_the_last_match_holds():
    layers = ("*=3", "b=0.5")
    # Norms 9 and 4, of which the first is on a branch.
    expected = {"bound": np.log(1 + 9**3) + 0.5 * np.log(4), "sum": 3 * 9 + 0.5 * 4}
    for reduction, value in expected.items():
        found = penalty(strength=1.0, reduction=reduction, layers=layers)
        np.testing.assert_allclose(found, value, rtol=1e-6)
    gradient = jax.grad(lambda units: penalty(units, strength=1.0, layers=("a=0",)))(UNITS)
    assert not any(np.any(leaf) for leaf in gradient["a"])
    assert np.any(gradient["b"].gain)


def test_weights_divide_the_radius_and_zero_leaves_a_unit_alone():
    gains = project(L1InfConfig(form="hard", radius=6.0, layers=("a=4", "b=0")))
    assert gains.keys() == {"a"}
    limit = 6 / 4 * np.array([2 / 18, 3 / 9, np.inf])
    np.testing.assert_allclose(gains["a"], np.clip(UNITS["a"].gain, -limit, limit), rtol=1e-6)


def test_a_pattern_that_matches_no_unit_is_refused():
    with pytest.raises(ValueError, match=r"l1inf.layers stem=2 matches no unit; there are a, b"):
        l1inf(L1InfConfig(layers=("stem=2",)), CHAIN)


def bound_after(gains, units=UNITS, chain=CHAIN):
    moved = {name: unit._replace(gain=gains.get(name, unit.gain)) for name, unit in units.items()}
    return float(jnp.exp(network_log_bound(chain, moved))), {name: float(u.norm) for name, u in moved.items()}


# Norms are 9 (on a branch) and 4: L = 10 * 4 = 40.  (1 + r) r = 12 at r = 3; (1 + r) 4 = 24 at r = 5.
@pytest.mark.parametrize(
    ("bound", "norms"), [(100.0, (9, 4)), (40.0, (9, 4)), (24.0, (5, 4)), (12.0, (3, 3))]
)
def test_a_target_bound_lowers_no_norm_that_is_below_the_common_radius(bound, norms):
    reached, found = bound_after(project(L1InfConfig(form="hard", bound=bound)))
    np.testing.assert_allclose(tuple(found.values()), norms, rtol=1e-4)
    np.testing.assert_allclose(reached, min(bound, 40), rtol=1e-4)
    assert reached <= bound * (1 + 1e-6)


def test_a_target_bound_counts_learned_activations_and_units_left_alone():
    # 4 (1 + 5 r) = 24 at r = 1; unit b is left alone.
    reached, found = bound_after(
        project(L1InfConfig(form="hard", bound=24.0, layers=("b=0",)), STEEP, SLOPED), STEEP, SLOPED
    )
    np.testing.assert_allclose((found["a"], found["b"], reached), (1, 4, 24), rtol=1e-4)


def test_a_target_bound_out_of_reach_takes_all_that_can_be_moved():
    _, found = bound_after(project(L1InfConfig(form="hard", bound=2.0, layers=("b=0",))))
    assert found["b"] == 4
    assert 0 <= found["a"] < 1e-9


def test_both_forms_at_once():
    config = L1InfConfig(form="both", radius=5.0, strength=1.0)
    np.testing.assert_allclose(l1inf(config, CHAIN).penalty(seen(UNITS), ())[0], np.log(40), rtol=1e-6)
    for name, gain in project(config).items():
        np.testing.assert_array_equal(gain, project(L1InfConfig(form="hard", radius=5.0))[name])
