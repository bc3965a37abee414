"""DSQ: the staircase and its gradients against the formula in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_values import context_of

from bnnjax.methods.dsq import dsq, soft_quantize

X = np.array([-3, -1.01, -1, -0.7, -1 / 3, -0.1, -0.0, 0, 0.2, 1 / 3 + 0.01, 0.8, 1, 1.2], np.float32)


def staircase(x, low, high, alpha, bits):
    """The soft value of each x, in float64."""
    steps = 2**bits - 1
    delta = (high - low) / steps
    k, s = np.log(2 / alpha - 1) / delta, 1 / (1 - alpha)
    x = np.clip(x.astype(np.float64), low, high)
    i = np.minimum(np.floor((x - low) / delta), steps - 1)
    middle = low + (i + 0.5) * delta
    return low + delta * (i + (s * np.tanh(k * (x - middle)) + 1) / 2)


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_values_are_the_nearest_level(bits):
    value = soft_quantize(jnp.asarray(X), jnp.float32(-1), jnp.float32(1), jnp.float32(0.2), bits)
    levels = np.linspace(-1, 1, 2**bits)
    distances = np.abs(np.clip(X, -1, 1)[:, None] - levels)
    # The upper one of equals.
    nearest = levels[::-1][distances[:, ::-1].argmin(1)]
    np.testing.assert_allclose(value, nearest, atol=1e-6)


def test_the_soft_staircase_meets_itself_at_the_ends_of_intervals():
    edges = np.linspace(-1, 1, 4)[1:-1]
    for alpha in (0.05, 0.2, 0.6):
        below, above = (staircase(edges + shift, -1, 1, alpha, 2) for shift in (-1e-9, 1e-9))
        np.testing.assert_allclose(below, above, atol=1e-6)


@pytest.mark.parametrize("bits", [1, 2, 3])
@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.5])
def test_gradients_are_those_of_the_soft_staircase(bits, alpha):
    x = np.random.default_rng(0).uniform(-1.4, 1.4, 200)
    low, high, h = -1.0, 0.9, 1e-6
    g = np.random.default_rng(1).normal(size=x.shape)

    def loss(x, low, high, alpha):
        return jnp.sum(soft_quantize(x, low, high, alpha, bits) * g)

    arguments = [jnp.asarray(value, jnp.float32) for value in (x, low, high, alpha)]
    by_x, by_low, by_high, by_alpha = jax.grad(loss, (0, 1, 2, 3))(*arguments)
    exact = [x, low, high, alpha]

    def difference(place):
        up, down = list(exact), list(exact)
        up[place], down[place] = exact[place] + h, exact[place] - h
        return (staircase(*map(np.asarray, up), bits) - staircase(*map(np.asarray, down), bits)) / (2 * h)

    near = np.abs((np.clip(x, low, high) - low) / ((high - low) / (2**bits - 1)) % 1 - 0.5) < 0.499
    inside = (x > low) & (x < high)
    np.testing.assert_allclose(by_x[near & inside], (g * difference(0))[near & inside], rtol=2e-3, atol=1e-4)
    np.testing.assert_array_equal(by_x[~inside], 0)
    for got, place in ((by_low, 1), (by_high, 2), (by_alpha, 3)):
        np.testing.assert_allclose(got, (g * difference(place)).sum(), rtol=1e-2, atol=2e-2)


def test_one_bit_is_the_sign_trained_through_a_tanh():
    method = dsq(1, 1)
    context = context_of(method, X[:, None])
    assert set(context.learned) == {"weight_softness", "activation_softness"}
    assert not context.schedule
    assert not context.memory
    y, pull = jax.vjp(lambda x: method.quantize_weight(x, context).value, jnp.asarray(X)[:, None])
    np.testing.assert_array_equal(y[:, 0], np.where(X >= 0, 1.0, -1.0))
    k = np.log(9) / 2
    slope = k / 0.8 * (1 - np.tanh(k * X) ** 2) * (np.abs(X) <= 1)
    np.testing.assert_allclose(pull(jnp.ones_like(y))[0][:, 0], slope, rtol=1e-5)


def test_alpha_outside_its_interval_gives_no_nan():
    for alpha in (-1.0, 0.0, 1.0, 2.5):
        value, gradient = jax.value_and_grad(
            lambda a: jnp.sum(soft_quantize(jnp.asarray(X), jnp.float32(-1), jnp.float32(1), a, 2))
        )(jnp.float32(alpha))
        assert np.isfinite([value, gradient]).all()


def test_bounds_of_weights_start_at_the_largest_weight():
    context = context_of(dsq(2, 2), X[:, None])
    assert (context.learned["weight_lower"], context.learned["weight_upper"]) == (-3, 3)
    assert (context.learned["activation_lower"], context.learned["activation_upper"]) == (-1, 1)
