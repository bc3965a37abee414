"""FDA-BNN: the series, the noise module and its schedule against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_values import context_of

from bnnjax.methods.fda import fda, fourier_schedule, sign_sine

X = np.array([-np.inf, -1.01, -1, -0.83, -0.3, -1e-6, -0.0, 0, 0.01, 0.5, 1, 1.01, np.inf], np.float32)
W = np.random.default_rng(0).normal(scale=0.5, size=(3, 3, 4, 6)).astype(np.float32)


def series(x, n):
    terms = [np.cos((2 * i + 1) * 0.1 * np.clip(x, -2, 2).astype(np.float64)) for i in range(n + 1)]
    return 4 * 0.1 / np.pi * np.sum(terms, axis=0) * (np.abs(x) <= 1)


@pytest.mark.parametrize("n", [9, 13, 18])
def test_the_sign_is_trained_through_the_series(n):
    y, pull = jax.vjp(lambda x: sign_sine(x, jnp.float32(n)), jnp.asarray(X))
    np.testing.assert_array_equal(y, np.where(X >= 0, 1.0, -1.0))
    np.testing.assert_allclose(pull(jnp.ones_like(y))[0], series(X, n), rtol=1e-4, atol=1e-5)


def test_nan_stays_nan_in_value_and_gradient():
    y, pull = jax.vjp(lambda x: sign_sine(x, jnp.float32(9)), jnp.array([jnp.nan]))
    assert np.isnan([y[0], pull(jnp.ones(1))[0][0]]).all()


@pytest.mark.parametrize(
    ("progress", "n", "factor"), [(0, 9, 0.1), (0.5, 13, 0.05), (2 / 3, 15, 0.025), (1, 18, 0)]
)
def test_terms_grow_and_the_noise_module_fades(progress, n, factor):
    schedule = fourier_schedule(jnp.float32(progress))
    assert schedule["terms"] == n
    np.testing.assert_allclose(schedule["factor"], factor, atol=1e-7)


def noise(x, first, second):
    return np.maximum(x @ first, 0) @ second + 0.1 * np.sin(x)


def test_weights_are_signs_and_noise_times_the_scale_of_the_layer():
    method = fda()
    context = context_of(method, W, progress=0.5)
    value, pull = jax.vjp(lambda w: method.quantize_weight(w, context).value, jnp.asarray(W))
    filters = W.reshape(36, 6).T.astype(np.float64)
    first, second = (np.asarray(context.learned[name], np.float64) for name in ("weight_in", "weight_out"))
    missing = noise(filters, first, second).T.reshape(W.shape)
    signs = np.where(W >= 0, 1.0, -1.0)
    np.testing.assert_allclose(value, np.abs(W).mean() * (signs + 0.05 * missing), rtol=1e-4, atol=1e-6)
    g = np.random.default_rng(1).normal(size=W.shape)
    along = (g.reshape(36, 6).T @ second.T * (filters @ first > 0)) @ first.T
    by_noise = (along + g.reshape(36, 6).T * 0.1 * np.cos(filters)).T.reshape(W.shape)
    np.testing.assert_allclose(
        pull(jnp.asarray(g, jnp.float32))[0], g * series(W, 13) + 0.05 * by_noise, rtol=1e-3, atol=1e-4
    )


def test_activations_have_the_module_over_channels_and_inference_has_none():
    method = fda()
    x = np.random.default_rng(2).normal(size=(2, 5, 5, 4)).astype(np.float32)
    context = context_of(method, W, progress=0)
    first, second = (np.asarray(context.learned[name]) for name in ("activation_in", "activation_out"))
    assert first.shape == (4, 1)
    signs = np.where(x >= 0, 1.0, -1.0)
    np.testing.assert_allclose(
        method.quantize_activation(jnp.asarray(x), context).value,
        signs + 0.1 * noise(x, first, second),
        rtol=1e-4,
        atol=1e-5,
    )
    inference = context_of(method, W, 1.0, training=False)
    np.testing.assert_array_equal(method.quantize_activation(jnp.asarray(x), inference).value, signs)
    np.testing.assert_array_equal(np.abs(method.quantize_weight(jnp.asarray(W), inference).codes), 1)
