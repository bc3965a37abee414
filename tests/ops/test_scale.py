"""Scaling factors and standardization, against NumPy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.ops.scale import mean_abs, power_of_two, standardize, unscale_gradient

NAN, INF = np.nan, np.inf


def kernel(seed, shape=(3, 3, 4, 5), mean=0.0):
    return np.random.default_rng(seed).normal(mean, 1, shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(3, 3, 4, 5), (7, 5)])
def test_mean_abs_is_taken_over_each_filter(shape):
    w = kernel(0, shape)
    scale = mean_abs(jnp.asarray(w))
    chex.assert_shape(scale, (5,))
    np.testing.assert_allclose(scale, np.abs(w.reshape(-1, 5)).mean(0), rtol=1e-6)


def test_mean_abs_is_the_least_squares_scale_of_the_signs():
    w = kernel(1, (9, 2))
    best = mean_abs(jnp.asarray(w))

    def error(scale):
        return ((w - scale * np.where(w >= 0, 1, -1)) ** 2).sum(0)

    assert (error(np.asarray(best)) < error(np.asarray(best) + 0.01)).all()
    assert (error(np.asarray(best)) < error(np.asarray(best) - 0.01)).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_power_of_two_keeps_powers_of_two_bit_for_bit(dtype):
    powers = np.ldexp(np.float32(1), np.arange(-126, 128))
    power = jax.jit(power_of_two)(jnp.asarray(powers, dtype))
    chex.assert_type(power, dtype)
    np.testing.assert_array_equal(power.astype(jnp.float32), powers)


def test_power_of_two_rounds_the_logarithm():
    # 2^0.5 = 1.41421356...
    scale = jnp.array([0.0, 0.7, 0.7072, 1.0, 1.4142, 1.4143, 2.8284, 2.8285, 3.0, NAN, INF])
    np.testing.assert_array_equal(power_of_two(scale), [0, 0.5, 1, 1, 1, 2, 2, 4, 4, NAN, INF])


def test_power_of_two_is_constant():
    gradient = jax.grad(lambda s: jnp.sum(power_of_two(s)))(jnp.array([0.0, 0.3, 1.0, 5.0]))
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize(
    ("shape", "mean"), [((3, 3, 4, 5), 0.0), ((7, 5), 0.0), ((3, 3, 4, 5), 3.0), ((2, 5), 0)]
)
def test_standardize_equals_numpy_with_the_unbiased_deviation(shape, mean):
    w = kernel(2, shape, mean)
    flat = w.reshape(-1, 5).astype(np.float64)
    expected = (flat - flat.mean(0)) / flat.std(0, ddof=1)
    # Rounding of w - mean is relative to |w|, at most 6.
    np.testing.assert_allclose(standardize(jnp.asarray(w)).reshape(-1, 5), expected, atol=3e-6, rtol=3e-6)


def test_standardize_gradient_equals_the_derivative_by_hand():
    w, g = kernel(3, (6, 3)), kernel(4, (6, 3))
    gradient = jax.grad(lambda w: jnp.sum(standardize(w) * g))(jnp.asarray(w))
    # z = (w - m) / s:  dw = (g - mean g - z sum(g z) / (n - 1)) / s
    s = w.std(0, ddof=1)
    z = (w - w.mean(0)) / s
    np.testing.assert_allclose(gradient, (g - g.mean(0) - z * (g * z).sum(0) / 5) / s, rtol=1e-4, atol=1e-6)


# 0.1 summed 4608 times in float32 is off by many roundings: a mean taken once leaves a spread that is none.
@pytest.mark.parametrize("shape", [(4, 2), (3, 3, 64, 2), (3, 3, 512, 2)])
def test_constant_filter_gives_zero_with_zero_gradient(shape):
    @jax.jit
    def value_and_gradient(w):
        value, pull = jax.vjp(standardize, w)
        return value, pull(jnp.arange(np.prod(shape), dtype=jnp.float32).reshape(shape))[0]

    for constant in (0.0, -0.0, 1.0, 0.1, 7.77, -1e-3):
        value, gradient = value_and_gradient(jnp.full(shape, constant))
        np.testing.assert_array_equal(value, 0)
        np.testing.assert_array_equal(gradient, 0)


def test_constant_filter_leaves_its_neighbours_alone():
    w = kernel(5, (3, 3, 4, 5))
    mixed = w.copy()
    mixed[..., 2] = 0.1
    expected = np.array(standardize(jnp.asarray(w)))
    expected[..., 2] = 0
    np.testing.assert_array_equal(standardize(jnp.asarray(mixed)), expected)


def test_nan_in_a_filter_shows_in_that_filter_alone():
    w = kernel(6, (8, 3))
    w[0, 1] = NAN
    np.testing.assert_array_equal(np.isnan(standardize(jnp.asarray(w))).any(0), [False, True, False])


@pytest.mark.parametrize("factor", [1e-6, 10.0, 1e6])
def test_standardize_does_not_see_the_scale_of_a_filter(factor):
    w = kernel(7)
    np.testing.assert_allclose(
        standardize(jnp.asarray(w * np.float32(factor))), standardize(jnp.asarray(w)), atol=1e-5
    )


def test_unscale_gradient_gives_the_gradient_of_the_product_without_the_scale():
    codes, g = jnp.sign(jnp.asarray(kernel(8, (4, 3)))), jnp.asarray(kernel(9, (4, 3)))
    scale = jnp.array([0.25, 3.0, 0.0])

    def product(codes, scale):
        return jnp.sum(unscale_gradient(codes, scale) * scale * g)

    value, (by_codes, by_scale) = jax.value_and_grad(product, (0, 1))(codes, scale)
    np.testing.assert_allclose(value, np.sum(codes * scale * g), rtol=1e-6)
    # dL/d(codes * scale) = g, and nothing where the scale is 0.
    np.testing.assert_allclose(by_codes, g * np.array([1, 1, 0]), rtol=1e-6)
    # The scale is no constant of the product itself.
    np.testing.assert_allclose(by_scale, np.sum(codes * g, axis=0), rtol=1e-6)


def test_unscale_gradient_takes_one_scale_for_all_filters_and_keeps_bfloat16():
    codes, scale = jnp.ones((2, 3), jnp.bfloat16), jnp.float32(4)
    value, pull = jax.vjp(unscale_gradient, codes, scale)
    by_codes, by_scale = pull(jnp.ones((2, 3), jnp.bfloat16))
    chex.assert_type([value, by_codes, by_scale], [jnp.bfloat16, jnp.bfloat16, jnp.float32])
    np.testing.assert_array_equal(by_codes.astype(jnp.float32), 0.25)
    assert by_scale == 0
