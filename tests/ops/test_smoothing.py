"""Averages of pixels: NumPy's numbers, odd sizes, and rows of their matrices that add up to 1."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.ops.smoothing import binomial_blur, block_means

X = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype(np.float32)


@pytest.mark.parametrize(("rows", "columns"), [(4, 6), (5, 6), (4, 5), (3, 3), (1, 1)])
def test_block_means_are_means_of_the_pixels_that_exist(rows, columns):
    x = X[:, :rows, :columns]
    y = block_means(x, 2)
    assert y.shape == x[:, ::2, ::2].shape
    for row, column in np.ndindex(y.shape[1:3]):
        block = x[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        np.testing.assert_allclose(y[:, row, column], block.mean((1, 2)), rtol=1e-5, atol=1e-6)


def test_blocks_of_one_pixel_change_nothing():
    np.testing.assert_array_equal(block_means(X, 1), X)


def test_binomial_blur_is_the_product_of_both_axes_with_the_border_repeated():
    wide = np.pad(X.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    expected = sum(kernel[i, j] * wide[:, i : i + 5, j : j + 6] for i, j in np.ndindex(3, 3))
    np.testing.assert_allclose(binomial_blur(X), expected, atol=1e-6)
    np.testing.assert_allclose(binomial_blur(X[:, :1, :1]), X[:, :1, :1], rtol=1e-6)


@pytest.mark.parametrize("smooth", [lambda x: block_means(x, 2), binomial_blur], ids=["means", "blur"])
def test_no_noise_grows_and_that_of_a_constant_stays(smooth):
    pixels = jnp.eye(30, dtype=jnp.float32).reshape(30, 5, 6, 1)
    matrix = np.asarray(smooth(pixels)).reshape(30, -1).T
    assert matrix.min() >= 0
    np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtypes_are_kept_and_the_gradient_is_spread(dtype):
    x = jnp.asarray(X[:, :4], dtype)
    chex.assert_type([block_means(x, 2), binomial_blur(x)], dtype)
    gradient = jax.grad(lambda x: jnp.sum(block_means(x, 2).astype(jnp.float32)))(x)
    np.testing.assert_array_equal(gradient.astype(jnp.float32), np.full(x.shape, 0.25))
