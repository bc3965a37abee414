"""ABC-Net: bases, least squares and gradients against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_values import context_of

from bnnjax.methods import Context
from bnnjax.methods.abcnet import abcnet, step, weight_bases

W = np.random.default_rng(0).normal(size=(3, 3, 4, 6)).astype(np.float32)


def bases_of(w, count):
    shifts = [0.0] if count == 1 else [-1 + 2 * i / (count - 1) for i in range(count)]
    return np.stack([np.where(w - w.mean() + u * w.std() >= 0, 1.0, -1.0) for u in shifts])


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_weights_are_the_least_squares_combination_of_the_bases(count):
    bases = bases_of(W, count)
    np.testing.assert_array_equal(weight_bases(jnp.asarray(W), count), bases)
    alpha = np.linalg.lstsq(bases.reshape(count, -1).T, W.ravel(), rcond=None)[0]
    method = abcnet(count, 1)
    upstream = np.random.default_rng(1).normal(size=W.shape).astype(np.float32)
    value, pull = jax.vjp(lambda w: method.quantize_weight(w, context_of(method, W)).value, jnp.asarray(W))
    np.testing.assert_allclose(value, np.tensordot(alpha, bases, 1), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(pull(upstream)[0], alpha.sum() * upstream, rtol=1e-3)


def test_more_bases_approximate_better():
    errors = [
        float(np.mean((np.asarray(abcnet(m, 1).quantize_weight(jnp.asarray(W), Context()).value) - W) ** 2))
        for m in (1, 2, 3, 5)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.3 * errors[0]


def test_the_step_and_its_window():
    x = jnp.array([-0.1, -0.0, 0.0, 0.49, 0.5, 1.0, 1.01, jnp.inf])
    y, pull = jax.vjp(step, x)
    np.testing.assert_array_equal(y, [-1, -1, -1, -1, 1, 1, 1, 1])
    np.testing.assert_array_equal(pull(jnp.ones_like(x))[0], [0, 1, 1, 1, 1, 1, 0, 0])


def test_activations_are_a_weighted_sum_of_shifted_steps_that_trains_shifts_and_factors():
    method = abcnet(1, 2)
    context = context_of(method, W)
    np.testing.assert_array_equal(context.learned["shift"], [-0.5, 0.5])
    np.testing.assert_array_equal(context.learned["factor"], [0.5, 0.5])
    x = np.random.default_rng(2).normal(size=(50, 1)).astype(np.float32)
    g = np.random.default_rng(3).normal(size=(50, 1)).astype(np.float32)
    shift, factor = np.array([0.3, -0.2], np.float32), np.array([0.7, 1.5], np.float32)

    def quantize(x, shift, factor):
        return method.quantize_activation(x, Context(learned={"shift": shift, "factor": factor})).value

    y, pull = jax.vjp(quantize, *map(jnp.asarray, (x, shift, factor)))
    steps = np.where(x + shift >= 0.5, 1.0, -1.0)
    window = (x + shift >= 0) & (x + shift <= 1)
    np.testing.assert_allclose(y, (steps * factor).sum(1, keepdims=True), rtol=1e-6)
    by_x, by_shift, by_factor = pull(g)
    np.testing.assert_allclose(by_x, g * (window * factor).sum(1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(by_shift, (g * window * factor).sum(0), rtol=1e-4)
    np.testing.assert_allclose(by_factor, (g * steps).sum(0), rtol=1e-4)
