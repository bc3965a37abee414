"""BNN+: its quantizers and its regularizer against formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_values import context_of

from bnnjax.methods import Context
from bnnjax.methods.base import identity
from bnnjax.methods.bnnplus import bnnplus

X = np.array([-100.0, -17, -3, -1, -0.48, -0.1, -0.0, 0.0, 1e-3, 0.25, 0.5, 1, 2, 30, 1e30], np.float32)
KERNEL = np.array([[0.5, -0.5], [-2.0, 0.0], [-0.0, 1.0], [1.5, -1.0]], np.float32)  # mean |w| = 0.8125


def sign(x):
    return np.where(x >= 0, 1.0, -1.0)


def slope(x):
    """S'(x) by the formula, in float64, where only cosh of the last entry overflows."""
    z = 5 * np.clip(x.astype(np.float64), -100, 100)
    return 5 * (2 - z * np.tanh(z / 2)) / (1 + np.cosh(z))


def swish(x):
    s = 1 / (1 + np.exp(-5 * x))
    return 2 * s * (1 + 5 * x * (1 - s)) - 1


@pytest.mark.parametrize("quantizer", ["quantize_weight", "quantize_activation"])
def test_signs_are_trained_through_swish_sign(quantizer):
    upstream = np.linspace(-2, 3, len(X)).astype(np.float32)[:, None]
    quantize = getattr(bnnplus(), quantizer)
    result, pull = jax.vjp(lambda x: quantize(x, {}).value, jnp.asarray(X)[:, None])
    np.testing.assert_array_equal(result[:, 0], sign(X))
    expected = slope(X)[:, None] * upstream
    np.testing.assert_allclose(pull(jnp.asarray(upstream))[0], expected, rtol=1e-4, atol=1e-6)


def test_slope_is_the_derivative_of_swish_sign():
    x = np.linspace(-2, 2, 41)
    np.testing.assert_allclose(slope(x), (swish(x + 1e-6) - swish(x - 1e-6)) / 2e-6, atol=1e-6)
    gradient = jax.grad(lambda x: bnnplus().quantize_activation(x, Context()).value.sum())(
        jnp.asarray(x)[:, None]
    )
    np.testing.assert_allclose(gradient[:, 0], slope(x), atol=1e-5)
    assert gradient[20, 0] == 5
    assert (gradient[:, 0] < 0).sum() == (np.abs(x) > 0.48).sum()


def test_infinities_get_no_gradient_and_nan_gets_nan():
    x = jnp.array([[jnp.inf], [-jnp.inf], [3e38], [jnp.nan]])
    value, pull = jax.vjp(lambda x: bnnplus().quantize_activation(x, Context()).value, x)
    np.testing.assert_array_equal(value[:, 0], [1, -1, 1, np.nan])
    np.testing.assert_array_equal(pull(jnp.ones_like(x))[0][:, 0], [0, 0, 0, np.nan])


def test_bfloat16_stays():
    x = jnp.asarray(X, jnp.bfloat16)[:, None]
    value, pull = jax.vjp(lambda x: bnnplus().quantize_activation(x, Context()).value, x)
    assert value.dtype == pull(value)[0].dtype == jnp.bfloat16


def loss(kernel, alpha):
    return bnnplus().layer_loss(kernel, jnp.zeros((1, 4)), Context(learned={"alpha": alpha}), identity)


def test_regularizer_is_the_mean_distance_to_the_two_values():
    np.testing.assert_allclose(context_of(bnnplus(), KERNEL).learned["alpha"], 0.8125)
    expected = 1e-4 * np.abs(0.75 - np.abs(KERNEL)).mean()
    np.testing.assert_allclose(loss(jnp.asarray(KERNEL), jnp.float32(0.75)), expected, rtol=1e-6)
    assert loss(jnp.array([[0.75, -0.75]]), jnp.float32(0.75)) == 0


def test_regularizer_draws_weights_and_alpha_to_each_other():
    by_kernel, by_alpha = jax.grad(loss, (0, 1))(jnp.asarray(KERNEL), jnp.float32(0.5))
    # Weights beyond +-alpha are drawn inwards, the others outwards: 0 to +alpha, and those just there too.
    outwards = np.where(np.abs(KERNEL) <= 0.5, 1, -1) * sign(KERNEL)
    assert outwards.sum() == 2
    np.testing.assert_allclose(by_kernel, -outwards * 1e-4 / 8, rtol=1e-6)
    # Four weights lie beyond alpha, four do not.
    np.testing.assert_allclose(by_alpha, 0, atol=1e-10)
    np.testing.assert_allclose(jax.grad(loss, 1)(jnp.asarray(KERNEL), jnp.float32(0.25)), -0.5e-4, rtol=1e-5)
