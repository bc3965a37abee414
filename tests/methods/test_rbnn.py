"""RBNN: its quantizers, schedule and rotations against formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_values import context_of

from bnnjax.methods import Context
from bnnjax.methods.base import identity
from bnnjax.methods.rbnn import per_sample, rbnn, refresh, sides, sign_triangle

KERNEL = (np.random.default_rng(0).normal(size=(3, 3, 4, 5)) * [1, 0.1, 2, 0.01, 30]).astype(np.float32)
UPSTREAM = np.random.default_rng(1).normal(size=KERNEL.shape).astype(np.float32)


def sign(x):
    return np.where(x >= 0, 1.0, -1.0)


def sharpness(progress):
    t = 10 ** (-2 + 3 * progress)
    return max(1 / t, 1), t


def standardized(kernel):
    w = kernel.astype(np.float64).reshape(-1, kernel.shape[-1])
    return (w - w.mean(0)) / w.std(0, ddof=1)


def objective(matrices, left, right):
    turned = [np.asarray(left, np.float64).T @ x @ np.asarray(right, np.float64) for x in matrices]
    return sum(((sign(x) - x) ** 2).sum() for x in turned)


def remember(kernel, context, epoch_begins=True):
    moment = context.training._replace(epoch_begins=jnp.bool_(epoch_begins))
    context = context._replace(training=moment)
    return rbnn().remember(jnp.asarray(kernel), jnp.zeros((1, 4)), context, identity)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, (1, 1)), (2, (1, 2)), (7, (1, 7)), (36, (6, 6)), (144, (12, 12)), (288, (16, 18))],
)
def test_sides_of_a_filter(count, expected):
    assert sides(count) == expected


@pytest.mark.parametrize(("progress", "k", "t"), [(0, 100, 0.01), (1 / 3, 10, 0.1), (1, 1, 10)])
def test_schedule(progress, k, t):
    schedule = rbnn().schedule(jnp.float32(progress))
    np.testing.assert_allclose([schedule["k"], schedule["t"]], [k, t], rtol=1e-5)


@pytest.mark.parametrize(("k", "t"), [(100.0, 0.01), (1.0, 1.0), (1.0, 2.0)])
def test_triangle(k, t):
    end = np.float32(np.sqrt(2) / t)
    x = np.array([-np.inf, -2 * end, -end, -end / 2, -0.0, 0.0, end / 4, end, 2 * end, np.inf], np.float32)
    value, pull = jax.vjp(lambda x: sign_triangle(x, jnp.float32(k), jnp.float32(t)), jnp.asarray(x))
    np.testing.assert_array_equal(value, sign(x))
    height = np.sqrt(2) * k * t
    expected = height * np.array([0, 0, 0, 0.5, 1, 1, 0.75, 0, 0, 0])
    np.testing.assert_allclose(pull(jnp.full(10, 3.0))[0], 3 * expected, rtol=1e-5, atol=1e-6 * height)


@pytest.mark.parametrize("progress", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("angle", [np.pi / 2, -0.7, 0.0])
def test_weights_are_signs_of_what_lies_between_the_weights_and_their_rotation(progress, angle):
    method = rbnn()
    context = context_of(method, KERNEL, progress)
    np.testing.assert_allclose(context.learned["angle"], np.full(5, np.pi / 2), rtol=1e-6)
    np.testing.assert_allclose(context.learned["scale"], np.abs(KERNEL).mean((0, 1, 2)), rtol=1e-6)

    def quantize(w, angle):
        turned = context._replace(learned={**context.learned, "angle": angle})
        return method.quantize_weight(w, turned).value

    value, pull = jax.vjp(quantize, jnp.asarray(KERNEL), jnp.full(5, angle))
    by_kernel, by_angle = pull(jnp.asarray(UPSTREAM))

    z = standardized(KERNEL)
    left, right = np.float64(context.memory["left"]), np.float64(context.memory["right"])
    turned = np.stack([(left.T @ z[:, o].reshape(6, 6) @ right).ravel() for o in range(5)], 1)
    between = z + abs(np.sin(angle)) * (turned - z)
    scale = np.abs(KERNEL.astype(np.float64)).mean((0, 1, 2))
    np.testing.assert_allclose(value, (sign(between) * scale).reshape(KERNEL.shape), rtol=1e-6)

    k, t = sharpness(progress)
    slope = k * np.maximum(np.sqrt(2) * t - t**2 * np.abs(between), 0)
    by_between = UPSTREAM.reshape(-1, 5) * scale * slope
    expected = by_between - by_between.mean(0) - z * (by_between * z).sum(0) / 35
    expected = (expected / KERNEL.std((0, 1, 2), ddof=1)).reshape(KERNEL.shape)
    size = np.abs(expected).max((0, 1, 2))
    np.testing.assert_allclose(by_kernel / size, expected / size, atol=1e-4)
    by_sine = (by_between * (turned - z)).sum(0) * sign(np.sin(angle)) * np.cos(angle)
    np.testing.assert_allclose(by_angle, by_sine, rtol=1e-3, atol=1e-4)


def test_scale_is_trained():
    method = rbnn()
    context = context_of(method, KERNEL)

    def total(scale):
        scaled = context._replace(learned={**context.learned, "scale": scale})
        return (method.quantize_weight(jnp.asarray(KERNEL), scaled).value * UPSTREAM).sum()

    by_scale = jax.grad(total)(context.learned["scale"])
    codes = method.quantize_weight(jnp.asarray(KERNEL), context).codes
    np.testing.assert_allclose(by_scale, (codes * UPSTREAM).sum((0, 1, 2)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("filling", [0.0, -0.0, 0.1])
def test_filter_of_equal_weights_gives_no_nan(filling):
    kernel = KERNEL.copy()
    kernel[..., 1] = filling
    context = context_of(rbnn(), kernel)
    value, pull = jax.vjp(lambda w: rbnn().quantize_weight(w, context).value, jnp.asarray(kernel))
    assert jnp.isfinite(value).all()
    gradient = pull(jnp.asarray(UPSTREAM))[0]
    assert jnp.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[..., 1], 0)
    for rotation in remember(kernel, context).values():
        assert jnp.isfinite(rotation).all()


@pytest.mark.parametrize("shape", [(3, 3, 4, 5), (3, 3, 2, 3), (7, 4)])
def test_rotations_stay_orthogonal_and_never_raise_the_distance_to_signs(shape):
    kernel = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    context = context_of(rbnn(), kernel)
    a, b = sides(kernel[..., 0].size)
    matrices = standardized(kernel).T.reshape(-1, a, b)
    distances = [objective(matrices, context.memory["left"], context.memory["right"])]
    for _ in range(4):
        new = remember(kernel, context)
        for name, side in (("left", a), ("right", b)):
            assert new[name].shape == (side, side)
            np.testing.assert_allclose(new[name].T @ new[name], np.eye(side), atol=1e-5)
        context = context._replace(memory=new)
        distances.append(objective(matrices, context.memory["left"], context.memory["right"]))
    assert (np.diff(distances) <= 1e-4).all()
    assert distances[1] < distances[0] - 0.1


def test_refresh_takes_three_alternations():
    kernel = np.random.default_rng(4).normal(size=(3, 3, 2, 3)).astype(np.float32)
    context = context_of(rbnn(), kernel)
    matrices = standardized(kernel).T.reshape(-1, 3, 6)
    left, right = np.float64(context.memory["left"]), np.float64(context.memory["right"])
    for _ in range(3):
        signs = [sign(left.T @ x @ right) for x in matrices]
        u, _, vt = np.linalg.svd(sum(b @ right.T @ x.T for b, x in zip(signs, matrices, strict=True)))
        left = vt.T @ u.T
        u, _, vt = np.linalg.svd(sum(x.T @ left @ b for b, x in zip(signs, matrices, strict=True)))
        right = u @ vt
    new = remember(kernel, context)
    # The right factor of three filters of 3 x 6 is determined: their sum has rank 6.
    np.testing.assert_allclose(new["left"], left, atol=1e-4)
    np.testing.assert_allclose(new["right"], right, atol=1e-4)


def test_rotation_of_one_matrix_written_out():
    # X = diag(2, 0), not turned yet: B = sign(X) is all ones, as sign(0) = 1.  B X^T = [[2, 0], [2, 0]] makes
    # the first row of left (1, 1) / sqrt 2, and that of right follows: left^T X right is all ones itself.
    x = jnp.array([[2.0, 0.0], [0.0, 0.0]])
    left, right = refresh(x[None], jnp.eye(2), jnp.eye(2))
    np.testing.assert_allclose([left[0], right[0]], np.full((2, 2), 0.5**0.5), rtol=1e-5)
    np.testing.assert_allclose(left.T @ x @ right, np.ones((2, 2)), rtol=1e-5)
    # Singular values 3 and 1 cannot give all ones; (2, 1; 1, 2) is the nearest, at distance 1 + 1.
    x = jnp.array([[3.0, 0.0], [0.0, 1.0]])
    left, right = refresh(x[None], jnp.eye(2), jnp.eye(2))
    np.testing.assert_allclose(objective([np.diag([3.0, 1.0])], left, right), 2, atol=1e-3)


def test_rotations_are_kept_within_an_epoch():
    context = context_of(rbnn(), KERNEL)
    kept, renewed = remember(KERNEL, context, False), jax.jit(remember)(KERNEL, context, True)
    assert set(kept) == set(renewed) == {"left", "right"}
    for name in kept:
        np.testing.assert_array_equal(kept[name], context.memory[name])
        assert np.abs(renewed[name] - context.memory[name]).max() > 0.01


def test_activations_are_signs_of_each_standardized_sample():
    rng = np.random.default_rng(5)
    x = (rng.normal(size=(3, 4, 4, 2)) * np.array([0.01, 1, 50]).reshape(3, 1, 1, 1) + 2).astype(np.float32)
    upstream = rng.normal(size=x.shape).astype(np.float32)
    wide = x.astype(np.float64)
    deviation = wide.std((1, 2, 3), ddof=1, keepdims=True)
    z = (wide - wide.mean((1, 2, 3), keepdims=True)) / deviation
    for progress in (0.0, 0.8):
        context = context_of(rbnn(), KERNEL, progress)
        value, pull = jax.vjp(lambda x, c=context: rbnn().quantize_activation(x, c).value, jnp.asarray(x))
        np.testing.assert_array_equal(value, sign(z))
        t = max(10 ** (-2 + 3 * progress), 1)
        by_z = upstream * np.maximum(np.sqrt(2) * t - t**2 * np.abs(z), 0)
        centred = by_z - by_z.mean((1, 2, 3), keepdims=True)
        expected = (centred - z * (by_z * z).sum((1, 2, 3), keepdims=True) / 31) / deviation
        size = np.abs(expected).max((1, 2, 3), keepdims=True)
        np.testing.assert_allclose(pull(jnp.asarray(upstream))[0] / size, expected / size, atol=1e-4)


def test_samples_without_a_deviation():
    np.testing.assert_array_equal(per_sample(jnp.array([[0.5], [-3.0]])), [[0.5], [-3]])
    context = context_of(rbnn(), KERNEL)
    x = jnp.array([[-0.5, -0.5], [1, 2]])
    value, pull = jax.vjp(lambda x: rbnn().quantize_activation(x, context).value, x)
    np.testing.assert_array_equal(value, [[1, 1], [-1, 1]])
    assert jnp.isfinite(pull(jnp.array([[1.0, 2], [3, 4]]))[0]).all()


def test_bfloat16_stays():
    context = context_of(rbnn(), KERNEL)
    x = jnp.asarray(np.random.default_rng(6).normal(size=(2, 3, 4)), jnp.bfloat16)
    value, pull = jax.vjp(lambda x: rbnn().quantize_activation(x, context).value, x)
    assert value.dtype == pull(value)[0].dtype == jnp.bfloat16


def test_full_precision_activations_are_kept():
    method, x = rbnn(1, 32), jnp.array([[0.3, -7.0]])
    np.testing.assert_array_equal(method.quantize_activation(x, Context()).value, x)
    np.testing.assert_array_equal(method.relaxed_activation(x), x)
