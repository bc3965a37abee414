"""ReActNet: RSign and RPReLU against NumPy, forward and backward, at their kinks; its two stages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.methods import Context
from bnnjax.methods.birealnet import birealnet
from bnnjax.methods.reactnet import RPRELU, reactnet, weight_schedule
from bnnjax.ops.channelwise import channelwise

W = np.random.default_rng(0).normal(size=(3, 3, 4, 6)).astype(np.float32)
BELOW, ABOVE = 1 - 2.0**-24, 1 + 2.0**-23
POINTS = np.array([-3, -ABOVE, -1, -BELOW, -0.5, -0.0, 0, 0.25, 0.5, BELOW, 1, ABOVE, 3], np.float32)
X = np.repeat(POINTS[:, None], 4, axis=1)
B = np.array([0.0, 0.5, -0.5, -1.0], np.float32)
G = np.random.default_rng(1).normal(size=X.shape).astype(np.float32)


def rsign(x, schedule, g=G):
    """Returns the codes, dL/dx and dL/db for dL/dcodes = g."""
    method = reactnet()

    def codes(x, threshold):
        return method.quantize_activation(x, Context(schedule, {"threshold": threshold})).codes

    y, pull = jax.vjp(codes, jnp.asarray(x), jnp.asarray(B))
    return tuple(np.asarray(value) for value in (y, *pull(jnp.asarray(g, y.dtype))))


@pytest.mark.parametrize("progress", [0.0, 1.0])
def test_rsign_is_the_sign_of_the_shifted_input_and_trains_both_through_the_polynomial(progress):
    y, by_x, by_b = rsign(X, weight_schedule(jnp.float32(progress)))
    shifted = X + B
    np.testing.assert_array_equal(y, np.where(shifted >= 0, 1, -1))
    slope = np.maximum(2 - 2 * np.abs(shifted.astype(np.float64)), 0)
    np.testing.assert_allclose(by_x, G * slope, rtol=1e-6)
    np.testing.assert_allclose(by_b, (G * slope).sum(0), rtol=1e-5, atol=1e-6)


def test_rsign_written_out_at_its_kinks():
    x = np.array([[-0.0, -0.5, 0.5, 1.0], [1.0, 0.5, 1.5, 2.0], [-1.0, -1.5, -0.5, 0.0]], np.float32)
    y, by_x, by_b = rsign(x, {}, np.ones_like(x))
    np.testing.assert_array_equal(y, [[1] * 4, [1] * 4, [-1] * 4])  # x + b is 0, 1 and -1
    np.testing.assert_array_equal(by_x, [[2] * 4, [0] * 4, [0] * 4])
    np.testing.assert_array_equal(by_b, [2] * 4)


def test_rsign_keeps_nan_and_has_a_threshold_a_channel_of_its_input_from_zero():
    x = X.copy()
    x[3, 2] = np.nan
    y, _, _ = rsign(x, {})
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))
    site = type("Site", (), {"latent": W})
    np.testing.assert_array_equal(reactnet().learned["threshold"](jax.random.key(0), site), np.zeros(4))


LEARNED = {
    "before": np.array([0.0, 0.5, -0.5, -1.0], np.float32),
    "slope": np.array([0.25, -2.0, 0.0, 1.5], np.float32),
    "after": np.array([0.0, 1.0, -3.0, 0.125], np.float32),
}


def test_rprelu_and_its_four_gradients():
    x = np.concatenate([X, -LEARNED["before"][None]])  # the last row lies at the kink of each channel
    g = np.concatenate([G, [[1.0, 2, -1, 3]]]).astype(np.float32)
    y, pull = jax.vjp(lambda x, p: channelwise(RPRELU.apply, x, p), jnp.asarray(x), LEARNED)
    by_x, by_learned = pull(jnp.asarray(g))
    u = x.astype(np.float64) + LEARNED["before"]
    slope = np.where(u > 0, 1, LEARNED["slope"])  # at 0 that of the left side
    np.testing.assert_allclose(y, slope * u + LEARNED["after"], rtol=1e-6)
    np.testing.assert_allclose(by_x, g * slope, rtol=1e-6)
    np.testing.assert_allclose(by_learned["before"], (g * slope).sum(0), rtol=1e-5)
    np.testing.assert_allclose(by_learned["after"], g.sum(0), rtol=1e-5)
    np.testing.assert_allclose(by_learned["slope"], (g * np.minimum(u, 0)).sum(0), rtol=1e-5, atol=1e-6)


def test_rprelu_begins_as_a_leaky_relu_and_keeps_nan():
    learned = {name: jnp.full(1, value) for name, value in RPRELU.learned.items()}
    y = RPRELU.apply(jnp.array([[-4.0], [-0.0], [3.0], [np.nan]]), learned)
    np.testing.assert_array_equal(y, [[-1], [0], [3], [np.nan]])


def test_lipschitz_constant_of_rprelu_is_its_steepest_slope():
    learned = {name: jnp.asarray(value) for name, value in LEARNED.items()}
    np.testing.assert_array_equal(RPRELU.lipschitz(learned), [1, 2, 1, 1.5])
    x = np.linspace(-3, 3, 601, dtype=np.float32)[:, None]
    steps = np.diff(np.asarray(RPRELU.apply(jnp.asarray(x), learned), np.float64), axis=0) / np.diff(
        x, axis=0
    )
    np.testing.assert_allclose(np.abs(steps).max(0), RPRELU.lipschitz(learned), rtol=1e-3)
    assert jnp.isnan(RPRELU.lipschitz({"slope": jnp.array([jnp.nan])})).all()


@pytest.mark.parametrize("progress", [0.0, 0.25, 0.4999])
def test_weights_are_real_in_the_first_stage(progress):
    value, gradient = weight(reactnet(), progress)
    np.testing.assert_array_equal(value, W)
    np.testing.assert_array_equal(gradient, 2)


@pytest.mark.parametrize("progress", [0.5, 0.75, 1.0])
def test_weights_are_those_of_bi_real_net_in_the_second_stage(progress):
    value, gradient = weight(reactnet(), progress)
    np.testing.assert_allclose(value, np.abs(W).mean((0, 1, 2)) * np.where(W >= 0, 1, -1), rtol=1e-5)
    np.testing.assert_allclose(gradient, 2 * (np.abs(W) <= 1), rtol=1e-6)
    expected_value, expected_gradient = weight(birealnet(), progress)
    np.testing.assert_array_equal(value, expected_value)
    np.testing.assert_array_equal(gradient, expected_gradient)


def weight(method, progress):
    context = Context(method.schedule(jnp.float32(progress)))
    value, pull = jax.vjp(lambda k: method.quantize_weight(k, context).value, jnp.asarray(W))
    return np.asarray(value), np.asarray(pull(jnp.full_like(value, 2))[0])


def test_a_filter_of_zeros_has_finite_gradients_in_both_stages():
    kernel = jnp.asarray(W).at[..., 2].set(0)
    for progress in (0.0, 1.0):
        context = Context(weight_schedule(jnp.float32(progress)))
        gradient = jax.grad(lambda k, c=context: reactnet().quantize_weight(k, c).value.sum())(kernel)
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("bits", [(1, 32), (2, 1), (32, 32)])
def test_other_bits_are_refused(bits):
    with pytest.raises(ValueError, match=r"reactnet is not defined for .*; it is for 1/1$"):
        reactnet(*bits)
