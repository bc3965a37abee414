"""BWNH's hashing against errors computed from the inputs themselves, and brute force over all bits."""

from itertools import pairwise, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.methods import Context, make_method
from bnnjax.methods.bwnh import BLOCK, hash_kernel, hash_latent
from bnnjax.ops.conv import conv, patches

ENOUGH = 200  # sweeps


def problem(fan_in, filters, seed, examples=400):
    """Correlated inputs, as behind a ReLU, and a kernel."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(examples, 3)) @ rng.normal(size=(3, fan_in)) + rng.normal(
        size=(examples, fan_in)
    )
    return np.maximum(mixed, 0), rng.normal(size=(fan_in, filters))


def hashed(x, w, sweeps=ENOUGH):
    x, w = jnp.asarray(x, jnp.float32), jnp.asarray(w, jnp.float32)
    bits, scale = jax.jit(hash_kernel, static_argnums=2)(w, x.T @ x / len(x), sweeps)
    return np.asarray(bits, np.float64), np.asarray(scale, np.float64)


def errors(x, w, bits, scale):
    """||X w_j - a_j X b_j||^2 of each filter."""
    return ((x @ w - (x @ bits) * scale) ** 2).sum(0)


def test_no_sweep_raises_the_error_and_the_first_lowers_it_much():
    x, w = problem(30, 20, 0)
    found = [errors(x, w, *hashed(x, w, sweeps)) for sweeps in (0, 1, 2, 3, 5, 20)]
    for before, after in pairwise(found):
        assert (after <= before * (1 + 1e-5)).all()
    assert found[1].sum() < 0.8 * found[0].sum()


def test_without_a_sweep_it_is_the_sign_with_its_least_squares_scale():
    x, w = problem(30, 20, 1)
    bits, scale = hashed(x, w, 0)
    fitted = [np.linalg.lstsq(x @ np.sign(w[:, [j]]), x @ w[:, j], rcond=None)[0][0] for j in range(20)]
    np.testing.assert_allclose(scale, np.abs(fitted), rtol=1e-3)
    np.testing.assert_array_equal(bits, np.sign(w) * np.sign(fitted))


@pytest.mark.parametrize("fan_in", [1, 2, 7, BLOCK, BLOCK + 1, 2 * BLOCK + 3])
def test_in_the_end_no_flip_and_no_other_scale_is_better(fan_in):
    x, w = problem(fan_in, 6, fan_in)
    bits, scale = hashed(x, w)
    assert set(np.unique(bits)) <= {-1.0, 1.0}
    best = errors(x, w, bits, scale)
    size = ((x @ w) ** 2).sum(0)
    for i in range(fan_in):
        flipped = bits.copy()
        flipped[i] *= -1
        assert (errors(x, w, flipped, scale) >= best - 1e-5 * size).all(), i
    for factor in (0.99, 1.01):
        assert (errors(x, w, bits, factor * scale) > best).all()
    assert (scale > 0).all()


def test_it_comes_near_the_best_of_all_bits():
    x, w = problem(8, 12, 3)
    every = np.array(list(product((-1.0, 1.0), repeat=8))).T  # [8, 256]
    outputs = x @ every
    fitted = outputs.T @ (x @ w) / (outputs**2).sum(0)[:, None]
    least = np.min([[errors(x, w[:, [j]], every, fitted[:, j])] for j in range(12)], axis=2)[:, 0]
    found = errors(x, w, *hashed(x, w))
    start = errors(x, w, *hashed(x, w, 0))
    assert (found >= least * (1 - 1e-4)).all()
    assert (found <= least * (1 + 1e-4)).sum() >= 8  # of 12
    assert found.sum() - least.sum() < 0.3 * (start.sum() - least.sum())


def test_independent_inputs_of_one_size_keep_the_signs():
    w = problem(16, 5, 4)[1]
    bits, scale = hashed(np.eye(16), w)
    np.testing.assert_array_equal(bits, np.sign(w))
    np.testing.assert_allclose(scale, np.abs(w).mean(0), rtol=1e-5)


def test_two_equal_inputs_by_hand():
    # X w = 2.5 x; the signs +1 -1 give nothing, so the scale is mean |w| = 1.75; with +1 +1 it is exact.
    bits, scale = hashed([[1, 1], [-2, -2]], [[3], [-0.5]])
    np.testing.assert_array_equal(bits[:, 0], [1, 1])
    np.testing.assert_allclose(scale, [1.25], rtol=1e-6)


def test_signs_that_point_the_wrong_way_are_turned():
    # x = (3, -2): X w = -1.7, X sign(w) = 1.
    bits, scale = hashed([[3, -2]], [[0.1], [1]], 0)
    np.testing.assert_array_equal(bits[:, 0], [-1, -1])
    np.testing.assert_allclose(scale, [1.7], rtol=1e-5)


def test_without_inputs_it_is_bwn_and_dead_inputs_keep_their_bits():
    x, w = problem(40, 9, 5)
    w[0, 0] = 0.0
    bits, scale = hashed(np.zeros_like(x), w)
    np.testing.assert_array_equal(bits, np.where(w >= 0, 1, -1))
    np.testing.assert_allclose(scale, np.abs(w).mean(0), rtol=1e-5)
    x[:, ::3] = 0
    bits, scale = hashed(x, w)
    np.testing.assert_array_equal(
        bits[::3] * bits[0] * np.where(w[0] >= 0, 1, -1), np.where(w >= 0, 1, -1)[::3]
    )
    assert np.isfinite(scale).all()


def test_a_filter_of_zeros_stays_zero():
    x, w = problem(10, 3, 6)
    w[:, 1] = 0
    bits, scale = hashed(x, w)
    assert np.isfinite(bits).all()
    np.testing.assert_array_equal(scale == 0, [False, True, False])


def test_the_latent_kernel_made_of_it_quantizes_to_it_and_convolves_better_than_bwn():
    rng = np.random.default_rng(7)
    images = jnp.asarray(
        np.maximum(rng.normal(size=(8, 6, 6, 4)) + rng.normal(size=(8, 6, 6, 1)), 0), jnp.float32
    )
    kernel = jnp.asarray(rng.normal(size=(3, 3, 4, 5)), jnp.float32)
    inputs = patches(images, 3, padding=1, most=1000)
    latent = hash_latent(kernel, inputs, Context())
    assert latent.shape == kernel.shape
    method = make_method("bwhn")
    assert method.name == "bwnh"
    codes, scale, _ = method.quantize_weight(latent, Context())
    expected_bits, expected_scale = hashed(inputs, np.asarray(kernel).reshape(36, 5), 10)
    np.testing.assert_array_equal(codes.reshape(36, 5), expected_bits)
    np.testing.assert_allclose(scale, expected_scale, rtol=1e-4)

    def distance(weight):
        return float(jnp.sum((conv(images, kernel - weight.value, padding=1)) ** 2))

    bwn = make_method("bwn").quantize_weight(kernel, Context())
    assert distance(method.quantize_weight(latent, Context())) < 0.7 * distance(bwn)


def test_the_kernel_trains_straight_through():
    kernel = jnp.asarray(np.random.default_rng(8).normal(size=(3, 3, 4, 5)) * 3, jnp.float32)
    upstream = jnp.asarray(np.random.default_rng(9).normal(size=kernel.shape), jnp.float32)
    method = make_method("bwnh")
    value, pull = jax.vjp(lambda k: method.quantize_weight(k, Context()).value, kernel)
    np.testing.assert_allclose(value, np.sign(kernel) * np.abs(kernel).mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(pull(upstream)[0], upstream, rtol=1e-5)
