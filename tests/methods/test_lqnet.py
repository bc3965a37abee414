"""LQ-Net: levels, gradients and the least squares of the basis against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_values import context_of

from bnnjax.methods.lqnet import fit_basis, lqnet, quantize

W = np.random.default_rng(0).normal(size=(3, 3, 4, 6)).astype(np.float32)


def by_brute_force(x, basis, low):
    """The nearest level of each entry of x, [n, o], and its code."""
    k = len(basis)
    codes = np.array([[low if i >> b & 1 == 0 else 1 for b in range(k)] for i in range(2**k)], np.float64)
    nearest, code = np.empty(x.shape), np.empty((k, *x.shape))
    for o in range(x.shape[1]):
        levels = codes @ basis[:, min(o, basis.shape[1] - 1)]
        for n in range(x.shape[0]):
            distances = np.abs(levels - x[n, o])
            # The upper one of equals.
            best = max(np.flatnonzero(distances == distances.min()), key=lambda i: levels[i])
            nearest[n, o], code[:, n, o] = levels[best], codes[best]
    return nearest, code


@pytest.mark.parametrize(("low", "k"), [(-1, 1), (-1, 2), (-1, 3), (0, 1), (0, 2), (0, 3)])
def test_the_level_is_the_nearest_of_all(low, k):
    rng = np.random.default_rng(k)
    basis = (2.0 ** np.arange(k) * 0.3)[:, None] * rng.uniform(0.8, 1.2, (k, 6))
    x = rng.normal(size=(40, 6))
    value = quantize(jnp.asarray(x, jnp.float32), jnp.asarray(basis, jnp.float32), low)
    expected, _ = by_brute_force(x, basis, low)
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_midpoints_go_up_in_a_basis_that_is_not_in_order():
    basis = jnp.array([[2.0], [0.5]])  # levels 0, 0.5, 2, 2.5; midpoints 0.25, 1.25, 2.25
    x = np.array([[-1.0], [0.2], [0.25], [1.25], [1.3], [2.25], [9.0], [np.nan]], np.float32)
    value = quantize(jnp.asarray(x), basis, 0)
    np.testing.assert_array_equal(value[:, 0], [0, 0, 0.5, 2, 2, 2.5, 2.5, np.nan])


def test_the_gradient_of_weights_is_the_identity_and_that_of_activations_ends_at_the_highest_level():
    method = lqnet(2, 2)
    context = context_of(method, W)
    upstream = np.arange(W.size, dtype=np.float32).reshape(W.shape)
    gradient = jax.vjp(lambda w: method.quantize_weight(w, context).value, jnp.asarray(W))[1](upstream)[0]
    np.testing.assert_array_equal(gradient, upstream)
    memory = {**context.memory, "activation_basis": jnp.array([0.5, 1.0])}
    x = jnp.array([[-1.0], [0.0], [1.5], [1.51], [jnp.inf]])
    y, pull = jax.vjp(lambda x: method.quantize_activation(x, context._replace(memory=memory)).value, x)
    np.testing.assert_array_equal(y[:, 0], [0, 0, 1.5, 1.5, 1.5])
    np.testing.assert_array_equal(pull(jnp.ones_like(x))[0][:, 0], [1, 1, 1, 0, 0])


def test_initial_bases_are_those_of_the_published_code():
    memory = context_of(lqnet(2, 2), W).memory
    first = 0.6745 * np.sqrt(2 / (9 * 6)) / 2
    np.testing.assert_allclose(memory["weight_basis"], np.outer([first, 2 * first], np.ones(6)), rtol=1e-5)
    np.testing.assert_allclose(memory["activation_basis"], [2 * 0.6745 / 3, 4 * 0.6745 / 3], rtol=1e-5)


@pytest.mark.parametrize(("low", "k"), [(-1, 2), (-1, 3), (0, 1), (0, 2), (0, 3)])
def test_the_basis_follows_least_squares(low, k):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(80, 3)).astype(np.float32)
    # Not in order: the codes of ascending levels are not those of ascending numbers.
    basis = np.array([[0.4, 0.5, 0.6], [0.9, 1.0, 0.3], [0.2, 0.15, 0.7]], np.float32)[:k]
    _, code = by_brute_force(x, basis, low)
    fitted = [np.linalg.lstsq(code[:, :, o].T, x[:, o], rcond=None)[0] for o in range(3)]
    new = fit_basis(jnp.asarray(x), jnp.asarray(basis), low, lambda tree: tree)
    np.testing.assert_allclose(new, 0.9 * basis + 0.1 * np.stack(fitted, 1), rtol=1e-4)


def test_one_bit_follows_the_mean_of_absolutes():
    new = fit_basis(jnp.array([[1.0], [-3.0]]), jnp.array([[1.0]]), -1, lambda tree: tree)
    np.testing.assert_allclose(new, [[0.9 + 0.1 * 2]], rtol=1e-4)


def test_a_basis_that_no_activation_uses_is_kept():
    basis = jnp.array([[0.5], [1.0]])
    new = fit_basis(jnp.zeros((4, 1)), basis, 0, lambda tree: tree)
    np.testing.assert_allclose(new, basis, rtol=1e-5)


def test_statistics_are_averaged_over_devices():
    x = jnp.asarray(np.random.default_rng(3).uniform(0, 2, (64, 1)), jnp.float32)
    basis = jnp.array([[0.5], [1.0]])
    alone = fit_basis(x, basis, 0, lambda tree: tree)
    halves = jax.vmap(
        lambda half: fit_basis(half, basis, 0, lambda tree: jax.lax.pmean(tree, "data")), axis_name="data"
    )(x.reshape(2, 32, 1))
    np.testing.assert_allclose(halves[0], alone, rtol=1e-3)
    np.testing.assert_array_equal(halves[0], halves[1])


def test_remember_updates_both_bases_as_fit_basis_does():
    method = lqnet(1, 2)
    context = context_of(method, W)
    x = jnp.asarray(np.random.default_rng(4).uniform(0, 2, (2, 4, 4, 4)), jnp.float32)
    new = method.remember(jnp.asarray(W), x, context, lambda tree: tree)
    assert set(new) == set(method.memory)
    expected = 0.9 * context.memory["weight_basis"] + 0.1 * np.abs(W).mean((0, 1, 2))
    np.testing.assert_allclose(new["weight_basis"], expected, rtol=1e-3)
    column = fit_basis(x.reshape(-1, 1), context.memory["activation_basis"][:, None], 0, lambda tree: tree)
    np.testing.assert_allclose(new["activation_basis"], column[:, 0], rtol=1e-6)
