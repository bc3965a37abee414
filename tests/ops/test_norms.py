"""L1,inf norms, their smooth maximum, the projection of gains, and power iteration."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnjax.ops.norms import channel_l1, folded_l1, maximum, power_iteration, project_gain

NAN, INF = np.nan, np.inf


def test_channel_l1_sums_each_filter_and_has_the_derivative_of_sign_at_zero():
    kernel = jnp.array([[[[1.0, -2.0], [0.0, 0.5]]], [[[-3.0, -0.0], [4.0, 1.0]]]])  # [2, 1, 2, 2]
    np.testing.assert_array_equal(channel_l1(kernel), [8, 3.5])
    gradient = jax.grad(lambda k: jnp.sum(channel_l1(k)))(kernel)
    np.testing.assert_array_equal(gradient, [[[[1, -1], [1, 1]]], [[[-1, 1], [1, 1]]]])


def test_folded_l1_is_gain_over_deviation_times_l1():
    l1, gain, variance = (
        jnp.array([2.0, 3.0, 5.0, 1.0]),
        jnp.array([1.5, -2, 0, -0.0]),
        jnp.array([4, 0.25, 1, 1]),
    )
    np.testing.assert_allclose(folded_l1(l1, gain, variance), [1.5, 12, 0, 0], rtol=1e-6)


def test_maximum_is_not_the_sum_of_maxima():
    kernel = jnp.array([[1.0, 0.0], [0.0, 3.0]])
    assert maximum(channel_l1(kernel)) == 3


def test_exact_maximum_has_its_gradient_in_one_channel_and_shares_it_at_a_tie():
    gradient = jax.grad(maximum)
    np.testing.assert_array_equal(gradient(jnp.array([1.0, 3.0, 2.0])), [0, 1, 0])
    np.testing.assert_array_equal(gradient(jnp.array([3.0, 1.0, 3.0])), [0.5, 0, 0.5])
    np.testing.assert_array_equal(gradient(jnp.zeros(4)), [0.25, 0.25, 0.25, 0.25])


def test_maximum_of_nan_is_nan():
    assert jnp.isnan(maximum(jnp.array([1.0, NAN])))
    assert jnp.isnan(maximum(jnp.array([1.0, NAN]), 0.5))


def test_smooth_maximum_written_out():
    # T log(e^(1/T) + e^(3/T)), T = 2
    np.testing.assert_allclose(
        maximum(jnp.array([1.0, 3.0]), 2.0), 2 * np.log(np.exp(0.5) + np.exp(1.5)), rtol=1e-6
    )


def test_smooth_maximum_has_the_softmax_as_gradient():
    norms = jnp.array([1.0, 3.0, 2.5])
    weights = np.exp(np.array([1.0, 3.0, 2.5]) / 0.7)
    np.testing.assert_allclose(jax.grad(lambda n: maximum(n, 0.7))(norms), weights / weights.sum(), rtol=1e-5)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.lists(st.floats(0, 1000, width=32), min_size=8, max_size=8), st.floats(0.01, 100))
def test_smooth_maximum_lies_above_the_maximum_by_at_most_t_log_n(values, temperature):
    norms = jnp.asarray(values, jnp.float32)
    excess = float(maximum(norms, temperature)) - max(values)
    rounding = 1e-6 * (max(values) + temperature)
    assert -rounding <= excess <= temperature * np.log(8) + rounding


def test_smooth_maximum_converges_to_the_maximum():
    norms = jnp.array([10.0, 9.9, 3.0])
    excess = [float(maximum(norms, t)) - 10 for t in (1.0, 0.1, 0.01)]
    assert excess[0] > excess[1] > 0.01
    assert abs(excess[2]) < 1e-5
    # Large norms over a small temperature overflow neither value nor gradient.
    value, gradient = jax.value_and_grad(lambda n: maximum(n, 1e-3))(jnp.array([1e6, 2e6]))
    assert value == 2e6
    np.testing.assert_array_equal(gradient, [0, 1])


def test_negative_temperature_is_refused():
    with pytest.raises(ValueError, match=r"temperature must be 0 .*; got -1"):
        maximum(jnp.ones(2), -1.0)


BOX = st.lists(st.floats(-100, 100, width=32, allow_subnormal=False), min_size=6, max_size=6)
POSITIVE = st.lists(st.floats(2.0**-6, 100, width=32), min_size=6, max_size=6)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(BOX, POSITIVE, POSITIVE, st.floats(2.0**-6, 1000, width=32))
def test_projected_gain_is_in_the_set_and_stays_when_projected_again(gain, l1, variance, radius):
    gain, l1, variance = (jnp.asarray(v, jnp.float32) for v in (gain, l1, variance))
    projected = project_gain(gain, l1, variance, radius)
    # Limit and norm round about four times.
    assert maximum(folded_l1(l1, projected, variance)) <= radius * (1 + 1e-6)
    np.testing.assert_array_equal(project_gain(projected, l1, variance, radius), projected)
    inside = folded_l1(l1, gain, variance) < radius * (1 - 1e-6)
    np.testing.assert_array_equal(np.asarray(projected)[inside], np.asarray(gain)[inside])


@settings(deadline=None, derandomize=True, max_examples=30)
@given(BOX, BOX, POSITIVE, POSITIVE, st.floats(2.0**-6, 1000, width=32))
def test_no_other_point_of_the_set_is_nearer(gain, other, l1, variance, radius):
    gain, l1, variance = (jnp.asarray(v, jnp.float32) for v in (gain, l1, variance))
    projected = np.asarray(project_gain(gain, l1, variance, radius), np.float64)
    other = np.asarray(other)
    # Any point of the set: shrink until the norm holds, channel by channel and all together.
    norms = np.asarray(folded_l1(l1, jnp.asarray(other, jnp.float32), variance), np.float64)
    distance = np.linalg.norm(projected - gain)
    for shrink in (
        np.minimum(1, radius / np.maximum(norms, 1e-30)),
        min(1, radius / max(norms.max(), 1e-30)),
    ):
        assert distance <= np.linalg.norm(other * shrink - gain) * (1 + 1e-5) + 1e-5


def test_projected_gain_is_nearest_on_a_grid():
    gain, l1, variance, radius = np.array([3.0, -1.5]), np.array([2.0, 1.0]), np.array([4.0, 0.25]), 1.0
    # |g| <= radius sqrt(v) / l1 = 1, 0.5
    axis = np.linspace(-4, 4, 1601)
    points = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    allowed = points[(np.abs(points) / np.sqrt(variance) * l1 <= radius + 1e-9).all(-1)]
    nearest = allowed[np.argmin(((allowed - gain) ** 2).sum(-1))]
    projected = project_gain(*(jnp.asarray(v, jnp.float32) for v in (gain, l1, variance)), radius)
    np.testing.assert_allclose(projected, nearest, atol=1e-6)
    np.testing.assert_allclose(projected, [1, -0.5], rtol=1e-6)


def test_filter_of_zeros_leaves_its_gain_and_radius_zero_gives_zero():
    gain, l1, variance = jnp.array([5.0, -7.0, 0.5]), jnp.array([0.0, 2.0, 1.0]), jnp.ones(3)
    np.testing.assert_array_equal(project_gain(gain, l1, variance, 1.0), [5, -0.5, 0.5])
    np.testing.assert_array_equal(project_gain(gain, l1, variance, 0.0), [5, 0, 0])


def gap_matrix(seed, rows, columns):
    """Returns a random matrix whose largest singular value is twice the second, and its top vectors."""
    rng = np.random.default_rng(seed)
    u = np.linalg.qr(rng.normal(size=(rows, rows)))[0]
    v = np.linalg.qr(rng.normal(size=(columns, columns)))[0]
    rank = min(rows, columns)
    matrix = u[:, :rank] * (3.0 / 2 ** np.arange(rank)) @ v[:, :rank].T
    return matrix, u[:, 0], v[:, 0]


@pytest.mark.parametrize(("rows", "columns"), [(4, 9), (9, 4), (1, 6)])
def test_power_iteration_equals_the_singular_value(rows, columns):
    matrix = gap_matrix(0, rows, columns)[0]
    iterate = jax.jit(partial(power_iteration, iterations=12))
    # Squares of the extreme entries leave float32's range.
    for factor in (1.0, 1e-25, 1e25):
        norm, left = iterate(jnp.asarray(matrix * factor, jnp.float32), jnp.ones(rows))
        np.testing.assert_allclose(norm, 3 * factor, rtol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(left), 1, rtol=1e-6)


def test_power_iteration_comes_from_below_and_goes_on_from_the_vector_it_returned():
    matrix = jnp.asarray(gap_matrix(1, 6, 8)[0], jnp.float32)
    step, vector, estimates = jax.jit(power_iteration), jnp.ones(6), []
    for _ in range(12):
        norm, vector = step(matrix, vector)
        estimates.append(float(norm))
    assert estimates[0] < 3 - 1e-3
    assert all(b >= a - 1e-6 for a, b in pairwise(estimates))
    np.testing.assert_allclose(estimates[-1], power_iteration(matrix, jnp.ones(6), 12)[0], rtol=1e-6)


def test_power_iteration_has_the_outer_product_of_the_top_vectors_as_gradient():
    matrix, u, v = gap_matrix(2, 5, 7)
    gradient = jax.jit(jax.grad(lambda m: power_iteration(m, jnp.ones(5), 15)[0]))(
        jnp.asarray(matrix, jnp.float32)
    )
    np.testing.assert_allclose(gradient, np.outer(u, v), atol=1e-5)


def test_zero_matrix_has_norm_zero_a_finite_gradient_and_keeps_the_vector_alive():
    zero = jnp.zeros((3, 4))
    (norm, vector), gradient = jax.value_and_grad(power_iteration, has_aux=True)(zero, jnp.ones(3))
    assert norm == 0
    assert np.isfinite(gradient).all()
    # The next call can still see a matrix that has come back.
    assert power_iteration(jnp.ones((3, 4)), vector)[0] > 3


def test_power_iteration_needs_an_iteration():
    with pytest.raises(ValueError, match="at least 1 iteration; got 0"):
        power_iteration(jnp.ones((2, 2)), jnp.ones(2), 0)
