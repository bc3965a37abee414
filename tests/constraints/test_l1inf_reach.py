"""The form reach: the reach of noise by hand, the hinge at its kinks, and the methods that it is for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.bounds.chain import Residual, UnitStats
from bnnjax.config.constraints import L1InfConfig
from bnnjax.constraints import Seen
from bnnjax.constraints.l1inf import l1inf
from bnnjax.constraints.l1inf_reach import shortfall

CHAIN = ("stem", Residual(("b/shortcut",), ("b/conv1", "b/conv2")), "head")


def unit(gain, variance):
    ones = UnitStats(*[jnp.ones(len(gain))] * 7)
    return ones._replace(gain=jnp.array(gain), batch_variance=jnp.array(variance))


# |g| ||What|| / sigma is (2, 1) in the stem and (1, 0) in conv1.
UNITS = {
    "stem": unit([1.0, -2.0], [1.0, 4.0]),
    "b/shortcut": unit([9.0], [1.0]),
    "b/conv1": unit([0.5, 0.0], [25.0, 25.0]),
    "b/conv2": unit([5.0], [5.0]),
    "head": unit([1.0], [1.0]),
}
SQUARES = {
    "stem": jnp.array([4.0, 1.0]),
    "b/shortcut": jnp.array([9.0]),
    "b/conv1": jnp.array([100.0, 100.0]),
    "b/conv2": jnp.array([5.0]),
}
H = {
    "b/conv1": jnp.array([[0.25, -0.25], [-2.0, 0.0]]),
    "b/conv2": jnp.array([[0.3, 0.0], [-0.9, 1.0]]),
}


def penalty(units, h, progress=1.0, **settings):
    options = {"form": "reach", "strength": 1.0, "noise": 0.5, "flips": 0.1, "tau": 1.0, **settings}
    activations = {name: (value, jnp.sign(value)) for name, value in h.items()}
    seen = Seen(units, {}, jnp.float32(progress), squares=SQUARES, activations=activations)
    value, state = l1inf(L1InfConfig(**options), CHAIN).penalty(seen, ())
    assert state == ()
    return value


def test_the_penalty_is_the_mean_shortfall_of_both_layers():
    # r = 0.5 (2, 1) behind the stem, 0.6 (1, 0) behind conv1, as 2 sqrt(0.1 0.9) = 0.6.
    first = (0.75 + 0.5 + 0 + 1) / 4
    second = (0.5 + 0 + 0 + 0) / 4
    np.testing.assert_allclose(penalty(UNITS, H), (first + second) / 2, rtol=1e-6)
    weighed = penalty(UNITS, H, strength=0.1, layers=("stem=3", "b/conv1=0"))
    np.testing.assert_allclose(weighed, 0.1 * 3 * first / 2, rtol=1e-6)
    # r = (2, 1) and (1.2, 0).
    twice = ((0.875 + 0.75 + 0 + 1) / 4 + (0.75 + 0.25) / 4) / 2
    np.testing.assert_allclose(penalty(UNITS, H, tau=2.0), twice, rtol=1e-6)
    np.testing.assert_allclose(penalty(UNITS, H, flips=0.0), first / 2, rtol=1e-6)
    half = penalty(UNITS, H, ramp=0.5, progress=0.25)
    np.testing.assert_allclose(half, (first + second) / 4, rtol=1e-6)


def test_its_gradient_pushes_values_away_from_the_threshold_and_ends_at_the_reach():
    by_units, by_h = jax.jit(jax.grad(penalty, (0, 1)))(UNITS, H)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(by_units))
    # -sign(h) / r / 4 values / 2 layers, with sign(0) = 1.
    np.testing.assert_allclose(by_h["b/conv1"], [[-1 / 8, 2 / 8], [0, -2 / 8]], rtol=1e-6)
    np.testing.assert_allclose(by_h["b/conv2"], [[-1 / 0.6 / 8, 0], [0, 0]], rtol=1e-6)
    # No noise at all, and values exactly as far away as it reaches.
    differentiated = jax.jit(jax.value_and_grad(shortfall))
    for h, r in ((0.3, 0.0), (0.0, 0.0), (0.5, 0.5), (-0.5, 0.5)):
        value, gradient = differentiated(jnp.array([[h]]), jnp.array([r]))
        assert value == gradient[0, 0] == 0
    assert shortfall(jnp.array([[1.0]], jnp.bfloat16), jnp.array([2.0])) == 0.5


@pytest.mark.parametrize(
    ("method", "bits"), [("rbnn", 1), ("recu", 1), ("reactnet", 1), ("fp", 32), ("dorefa", 2), ("bwn", 32)]
)
def test_methods_that_take_no_signs_at_zero_are_refused(train, method, bits):
    with pytest.raises(
        ValueError, match=f"^l1inf.form reach is about .* method {method} at {bits} bits does not"
    ):
        train(0, method=method, abits=bits, constraint="l1inf", l1inf=L1InfConfig(form="reach"))


@pytest.mark.parametrize("how", [{"kernels": "xla"}, {"precision": "bfloat16"}])
def test_it_does_not_need_kernels_in_c(train, how):
    train(0, constraint="l1inf", l1inf=L1InfConfig(form="reach"), **how)


@pytest.mark.slow
def test_values_move_away_in_training(train):
    settings = L1InfConfig(form="reach", strength=10.0)
    _, states = train(24, epochs=6, constraint="l1inf", l1inf=settings)
    first, last = (float(states[step].totals.penalty) for step in (4, 24))
    assert 0 < last < 0.95 * first
