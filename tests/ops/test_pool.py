"""Max pooling, against a loop over windows and Flax's."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.ops.pool import max_pool

WINDOWS = [(3, 2, 1), (2, 2, 0), (3, 1, 1), (3, 3, 1), (3, 2, 0), (5, 2, 2), (1, 1, 0), (2, 3, 1)]


def looped(x, g, size, stride, padding):
    """Returns the pooled array and the gradient by x, window by window."""
    border = (padding, padding)
    padded = np.pad(x, ((0, 0), border, border, (0, 0)), constant_values=-np.inf)
    back = np.zeros_like(padded)
    y = np.zeros(g.shape, x.dtype)
    for b, p, q, c in np.ndindex(*g.shape):
        window = padded[b, stride * p : stride * p + size, stride * q : stride * q + size, c]
        h, w = np.unravel_index(np.argmax(window), window.shape)
        y[b, p, q, c] = window[h, w]
        back[b, stride * p + h, stride * q + w, c] += g[b, p, q, c]
    rows, columns = x.shape[1:3]
    return y, back[:, padding : padding + rows, padding : padding + columns]


@pytest.mark.parametrize(("size", "stride", "padding"), WINDOWS)
@pytest.mark.parametrize("shape", [(2, 9, 8, 3), (1, 7, 7, 1)])
def test_values_and_gradients_are_those_of_a_loop_over_windows(size, stride, padding, shape):
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, shape).astype(np.float32)  # many of equal value
    y, pull = jax.vjp(lambda x: max_pool(x, size, stride, padding), jnp.asarray(x))
    g = rng.normal(size=y.shape).astype(np.float32)
    expected, expected_gradient = looped(x, g, size, stride, padding)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_allclose(pull(jnp.asarray(g))[0], expected_gradient, atol=1e-6)
    np.testing.assert_array_equal(max_pool(jnp.asarray(x), size, stride, padding), expected)


def ours(x):
    return max_pool(x, 3, 2, 1)


def flax_s(x):
    return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-6), (jnp.bfloat16, 1e-2)])
def test_it_is_flax_s(dtype, tolerance):
    x = jax.random.normal(jax.random.key(0), (2, 12, 12, 4)).astype(dtype)

    def gradient(pool):
        return jax.grad(lambda x: jnp.sum(pool(x).astype(jnp.float32) ** 2))(x).astype(jnp.float32)

    np.testing.assert_array_equal(ours(x), flax_s(x))
    assert ours(x).dtype == dtype
    np.testing.assert_allclose(gradient(ours), gradient(flax_s), rtol=tolerance)


def test_nan_and_infinities_pass():
    x = jnp.full((1, 4, 4, 1), -jnp.inf).at[0, 0, 0, 0].set(jnp.nan).at[0, 3, 3, 0].set(jnp.inf)
    y = jax.vjp(lambda x: max_pool(x, 2, 2), x)[0]
    np.testing.assert_array_equal(y[0, ..., 0], [[np.nan, -np.inf], [-np.inf, np.inf]])


def energy(x):
    return jnp.sum(max_pool(x, 3, 2, 1) ** 2) / 2


def test_its_gradient_is_differentiable():
    """By the input, and by the input again: of the squares of what won, that is how often it won."""
    x = jax.random.normal(jax.random.key(1), (1, 7, 7, 2))
    wins = np.asarray(jax.grad(lambda x: jnp.sum(max_pool(x, 3, 2, 1)))(x))
    assert wins.max() > 1
    second = jax.grad(lambda x: jnp.sum(jax.grad(energy)(x)))(x)
    np.testing.assert_allclose(second, wins, rtol=1e-6)


def test_the_first_of_equal_values_takes_it_all_in_gradients_of_gradients_too():
    """Where a pass that another has differentiated is differentiated, as by a penalty on gradients."""
    x = jnp.asarray(np.random.default_rng(0).integers(-2, 3, (2, 7, 7, 3)), jnp.float32)

    def through_another(x):
        y, pull = jax.vjp(lambda x: max_pool(x, 3, 2, 1), x)
        return jnp.sum(y**2) / 2 + 0 * jnp.sum(pull(y)[0])

    np.testing.assert_array_equal(jax.grad(through_another)(x), jax.grad(energy)(x))
