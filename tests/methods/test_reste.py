"""ReSTE: its quantizers and schedule against formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_values import context_of

from bnnjax.methods import Context
from bnnjax.methods.reste import reste

M, T = np.float32(0.1), np.float32(1.5)
AFTER_M, AFTER_T = np.nextafter(M, np.float32(1)), np.nextafter(T, np.float32(2))
X = np.array([0.0, 1e-20, 0.05, M, AFTER_M, 0.25, 0.5, 1, 1.4, T, AFTER_T, 2, 1e30, np.inf], np.float32)
X = np.concatenate([-X, X])
KERNEL = np.array([[0.0, -0.0], [1.5, 0.25], [-1.0, -3.0], [0.05, -0.5], [-0.75, 0.1]], np.float32)
UPSTREAM = np.array([[1.0, -2], [2, 0.5], [-1, 3], [0.25, 1], [4, -1]], np.float32)


def sign(x):
    return np.where(x >= 0, 1.0, -1.0)


def order(progress):
    return 1 + 2 * (1 - np.cos(progress * np.pi / 2))


def slope(x, o):
    size = np.abs(x.astype(np.float64))
    with np.errstate(divide="ignore"):
        power = size ** ((1 - o) / o) / o
    return np.where(np.abs(x) <= M, 0.1 ** (1 / o) / 0.1, np.where(np.abs(x) <= T, power, 0))


@pytest.mark.parametrize(("progress", "expected"), [(0, 1), (2 / 3, 2), (0.5, 3 - 2**0.5), (1, 3)])
def test_schedule_is_a_quarter_of_a_cosine(progress, expected):
    np.testing.assert_allclose(reste().schedule(jnp.float32(progress))["order"], expected, rtol=1e-6)


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_activations_are_trained_through_the_power(progress):
    method = reste()
    context = context_of(method, KERNEL, progress)
    value, pull = jax.vjp(lambda x: method.quantize_activation(x, context).value, jnp.asarray(X)[:, None])
    np.testing.assert_array_equal(value[:, 0], sign(X))
    upstream = np.linspace(-1, 2, len(X)).astype(np.float32)
    gradient = pull(jnp.asarray(upstream)[:, None])[0][:, 0]
    np.testing.assert_allclose(gradient, slope(X, order(progress)) * upstream, rtol=1e-4)


def test_estimator_is_the_identity_up_to_t_at_first():
    context = Context({"order": jnp.float32(1)})
    gradient = jax.grad(lambda x: reste().quantize_activation(x, context).value.sum())
    np.testing.assert_allclose(gradient(jnp.asarray(X)[:, None])[:, 0], np.abs(X) <= T, rtol=1e-6)


@pytest.mark.parametrize("progress", [0.0, 0.5, 0.9])
def test_weights_have_the_layers_scale_which_is_differentiated(progress):
    method = reste()
    context = context_of(method, KERNEL, progress)
    value, pull = jax.vjp(lambda w: method.quantize_weight(w, context).value, jnp.asarray(KERNEL))
    scale = np.abs(KERNEL).mean()
    np.testing.assert_allclose(value, scale * sign(KERNEL), rtol=1e-6)
    through_scale = sign(KERNEL) / 10 * (UPSTREAM * sign(KERNEL)).sum()
    expected = scale * slope(KERNEL, order(progress)) * UPSTREAM + through_scale
    np.testing.assert_allclose(pull(jnp.asarray(UPSTREAM))[0], expected, rtol=1e-4, atol=1e-6)


def test_no_function_bounds_what_the_estimator_sees():
    np.testing.assert_array_equal(reste().nonlinearity(jnp.array([-1.4, 1.4])), np.float32([-1.4, 1.4]))


def test_bfloat16_stays_and_nan_stays():
    context = context_of(reste(), KERNEL)
    x = jnp.array([[0.3], [jnp.nan]], jnp.bfloat16)
    value, pull = jax.vjp(lambda x: reste().quantize_activation(x, context).value, x)
    assert value.dtype == jnp.bfloat16
    np.testing.assert_array_equal(value.astype(np.float32), [[1], [np.nan]])
    gradient = pull(jnp.ones_like(x))[0]
    assert gradient.dtype == jnp.bfloat16
    assert gradient[1, 0] == 0
