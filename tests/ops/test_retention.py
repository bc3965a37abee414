"""Retention matrices and estimates of their spectral norms, by hand and by NumPy in float64."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.ops.retention import average_to, largest_singular_value, one_step_norm, retention_matrix


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def averaged(x, rows, columns):
    """PyTorch's adaptive average pooling, pixel by pixel."""
    h, w = x.shape[1:3]
    out = np.empty((len(x), rows, columns, x.shape[3]))
    for p in range(rows):
        for q in range(columns):
            window = x[
                :,
                p * h // rows : int(np.ceil((p + 1) * h / rows)),
                q * w // columns : int(np.ceil((q + 1) * w / columns)),
            ]
            out[:, p, q] = window.astype(np.float64).mean(axis=(1, 2))
    return out


@pytest.mark.parametrize("sizes", [(8, 8, 4, 4), (7, 5, 4, 3), (6, 4, 6, 2), (4, 4, 1, 1), (3, 3, 3, 3)])
def test_images_are_averaged_in_windows_that_cover_them(sizes):
    h, w, rows, columns = sizes
    x = normal(2, h, w, 3)
    np.testing.assert_allclose(average_to(x, rows, columns), averaged(x, rows, columns), atol=1e-6)


def test_retention_matrix_by_hand():
    # Two channels of 2x2 pixels against one channel of 1x2: rows are averaged, then X Y^T / 2.
    x = np.zeros((1, 2, 2, 2), np.float32)
    x[0, :, :, 0] = [[1, 2], [3, 4]]  # to (2, 3)
    x[0, :, :, 1] = [[0, -1], [0, 5]]  # to (0, 2)
    y = np.array([10, 100], np.float32).reshape(1, 1, 2, 1)
    expected = [[[(2 * 10 + 3 * 100) / 2], [(0 * 10 + 2 * 100) / 2]]]
    np.testing.assert_allclose(retention_matrix(x, y), expected, rtol=1e-6)


def test_retention_matrix_of_random_images_is_the_mean_of_products():
    x, y = normal(3, 9, 6, 4), normal(3, 4, 3, 5, seed=1)
    pooled = averaged(x, 4, 3)
    expected = [
        sum(np.outer(pooled[n, p, q], y[n, p, q]) for p in range(4) for q in range(3)) / 12 for n in range(3)
    ]
    np.testing.assert_allclose(retention_matrix(x, y), expected, atol=1e-6)


def test_retention_matrix_is_float32_whatever_the_features_are():
    x = jnp.asarray(normal(1, 4, 4, 2), jnp.bfloat16)
    chex.assert_type(retention_matrix(x, x), jnp.float32)


def test_one_step_norm_by_hand():
    # R R^T = diag(9, 16); of a vector of ones (9, 16), whose length is sqrt(337).
    matrix = jnp.array([[[3.0, 0.0, 0.0], [0.0, 0.0, -4.0]]])
    np.testing.assert_allclose(one_step_norm(matrix), [337**0.25], rtol=1e-6)


def test_one_step_norm_is_one_power_iteration_as_the_published_code_has_it():
    matrix = normal(4, 5, 7)
    for one, found in zip(matrix.astype(np.float64), one_step_norm(matrix), strict=True):
        k = one @ one.T
        v0 = np.ones(5)
        n = np.linalg.norm(k @ v0)
        v = k @ v0 / n
        np.testing.assert_allclose(found, np.sqrt(n / np.linalg.norm(v)), rtol=1e-5)
        assert found**2 <= np.linalg.norm(one, 2) ** 2 * np.sqrt(5) * (1 + 1e-5)


def test_one_step_norm_has_the_gradient_of_finite_differences():
    matrix, direction = normal(2, 3, 4).astype(np.float64), normal(2, 3, 4, seed=1).astype(np.float64)

    def value(matrix):
        return sum(np.linalg.norm(one @ one.T @ np.ones(3)) ** 0.5 for one in matrix)

    step = 1e-5
    slope = (value(matrix + step * direction) - value(matrix - step * direction)) / (2 * step)
    gradient = jax.grad(lambda m: one_step_norm(m).sum())(jnp.asarray(matrix, jnp.float32))
    np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-4)


def test_largest_singular_value_and_its_gradient_are_those_of_the_decomposition():
    matrix = normal(3, 6, 4) + 1  # one singular value is far above the others
    value = largest_singular_value(matrix, 30)
    gradient = jax.grad(lambda m: largest_singular_value(m, 30).sum())(jnp.asarray(matrix))
    for n, one in enumerate(matrix.astype(np.float64)):
        left, singular, right = np.linalg.svd(one)
        np.testing.assert_allclose(value[n], singular[0], rtol=1e-5)
        np.testing.assert_allclose(gradient[n], np.outer(left[:, 0], right[0]), atol=1e-4)


def test_few_iterations_find_the_norm_from_below():
    matrix = normal(1, 8, 8)
    exact = np.linalg.norm(matrix[0].astype(np.float64), 2)
    values = [float(largest_singular_value(matrix, count)[0]) for count in (1, 2, 3, 30)]
    assert values == sorted(values)
    assert values[0] < 0.99 * exact
    np.testing.assert_allclose(values[-1], exact, rtol=1e-3)


def test_codes_whose_columns_cancel_have_a_norm():
    matrix = np.array([[[1.0, 1.0], [-1.0, -1.0]]], np.float32)  # the ones are orthogonal to all columns
    np.testing.assert_allclose(largest_singular_value(matrix, 2), [2.0], rtol=1e-6)


NORMS = [one_step_norm, lambda matrix: largest_singular_value(matrix, 3)]


@pytest.mark.parametrize("norm", NORMS)
def test_zeros_give_zero_and_no_gradient_and_leave_their_neighbours_alone(norm):
    other = normal(1, 3, 4)
    matrix = jnp.concatenate([jnp.zeros((1, 3, 4)), other])
    value, gradient = norm(matrix), jax.grad(lambda m: norm(m).sum())(matrix)
    assert value[0] == 0
    np.testing.assert_array_equal(gradient[0], np.zeros((3, 4)))
    np.testing.assert_allclose(value[1:], norm(other), rtol=1e-6)
    np.testing.assert_allclose(gradient[1:], jax.grad(lambda m: norm(m).sum())(other), rtol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_squares_neither_underflow_nor_overflow(norm, scale):
    matrix = jnp.asarray(normal(1, 3, 4))
    np.testing.assert_allclose(norm(matrix * scale), scale * norm(matrix), rtol=1e-5)
    gradient = jax.grad(lambda m: norm(m).sum())
    np.testing.assert_allclose(gradient(matrix * scale), gradient(matrix), rtol=1e-4, atol=1e-6)
