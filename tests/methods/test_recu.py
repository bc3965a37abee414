"""ReCU: its quantizers and schedule against formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_values import context_of

from bnnjax.methods import Context
from bnnjax.methods.recu import clamped, recu

KERNEL = (np.random.default_rng(0).normal(size=(3, 3, 2, 4)) * [1, 0.1, 0.01, 30]).astype(np.float32)
UPSTREAM = np.random.default_rng(1).normal(size=KERNEL.shape).astype(np.float32)


def sign(x):
    return np.where(x >= 0, 1.0, -1.0)


def tau_at(progress):
    a = (0.99 - 0.85) / (np.e - 1)
    return a * np.exp(progress) + 0.85 - a


def standardized(kernel):
    """w1 in float64, and the factor of each filter."""
    w = kernel.astype(np.float64)
    w0 = w - w.mean((0, 1, 2))
    factor = 2 * np.sqrt(2) / np.sqrt(w.var((0, 1, 2), ddof=1) + 1e-5)
    return w0 * factor, w0, factor


def weight(kernel, upstream, progress):
    method = recu()
    context = context_of(method, kernel, progress)
    value, pull = jax.vjp(lambda w: method.quantize_weight(w, context).value, jnp.asarray(kernel))
    return value, pull(jnp.asarray(upstream))[0], np.asarray(context.learned["scale"])


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_schedule_goes_from_085_to_099(progress):
    schedule = recu().schedule(jnp.float32(progress))
    np.testing.assert_allclose(schedule["tau"], tau_at(progress), rtol=1e-6)
    np.testing.assert_allclose([tau_at(0), tau_at(1)], [0.85, 0.99])


@pytest.mark.parametrize("progress", [0.0, 0.5, 0.99])
def test_weights_are_clamped_signs_times_a_learned_scale(progress):
    value, gradient, scale = weight(KERNEL, UPSTREAM, progress)
    assert ((scale >= 0) & (scale < 1)).all()
    assert len(set(scale)) == 4
    w1, w0, factor = standardized(KERNEL)
    limit = -np.abs(w1).mean() * np.log(2 - 2 * tau_at(progress))
    inside = np.abs(w1) <= limit
    assert not inside.all() or progress > 0.9
    np.testing.assert_allclose(value, sign(w1) * scale, rtol=1e-6)
    by_w1 = UPSTREAM * scale * inside
    # w1 = factor w0, factor = 2 sqrt(2) (var + 1e-5)^(-1/2), dvar/dw = 2 w0 / 17; then the mean is taken out.
    by_variance = -(by_w1 * w1).sum((0, 1, 2)) / 2 * factor**2 / 8
    by_w0 = by_w1 * factor + by_variance * 2 * w0 / 17
    expected = by_w0 - by_w0.mean((0, 1, 2))
    size = np.abs(expected).max((0, 1, 2))
    np.testing.assert_allclose(gradient / size, expected / size, atol=1e-4)


def test_clamp_keeps_the_gradient_at_its_very_ends():
    # w1 = 2 sqrt(2) (1, -1, 0) / sqrt(1 + 1e-5): the largest |w1| is 3/2 of the mean, and so is Q for
    # 2 - 2 tau = exp(-3/2).
    kernel, tau = jnp.array([[1.0], [-1.0], [0.0]]), 1 - 0.5 * np.exp(-1.5)
    end = 2 * np.sqrt(2 / (1 + 1e-5))
    for nudge, kept in ((1e-5, True), (-1e-5, False)):
        w2, pull = jax.vjp(lambda w, nudge=nudge: clamped(w, jnp.float32(tau + nudge)), kernel)
        assert (np.abs(w2).max() > 0.99999 * end) == kept
        by_kernel = pull(jnp.array([[1.0], [0.0], [0.0]]))[0]
        # (e1 - mean - z <z, e1> / 2) end, with z = (1, -1, 0).
        expected = end * np.array([[1 / 6], [1 / 6], [-1 / 3]]) * kept
        np.testing.assert_allclose(by_kernel, expected, atol=1e-4)
    # Exactly at the end: tau = 1/2 makes Q = 0, where a layer of zeros stands.
    _, pull = jax.vjp(lambda w: clamped(w, jnp.float32(0.5)), jnp.zeros((2, 1)))
    expected = 2 * np.sqrt(2 / 1e-5) * np.array([[0.5], [-0.5]])
    np.testing.assert_allclose(pull(jnp.array([[1.0], [0.0]]))[0], expected, rtol=1e-5)


@pytest.mark.parametrize("filling", [0.0, -0.0, 0.1])
def test_filter_of_equal_weights_gives_no_nan(filling):
    kernel = KERNEL.copy()
    kernel[..., 1] = filling
    value, gradient, scale = weight(kernel, UPSTREAM, 0.5)
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(np.abs(value), np.broadcast_to(scale, kernel.shape), rtol=1e-6)
    if filling == 0:
        np.testing.assert_array_equal(value[..., 1] >= 0, True)


def through(x):
    """The function whose derivative trains activations, in float64: the polynomial of the scaled sample."""
    z = x / np.sqrt(x.var((1, 2, 3), ddof=1, keepdims=True) + 1e-5)
    return np.where(np.abs(z) < 1, 2 * z - z * np.abs(z), np.sign(z))


def test_activations_are_trained_through_the_polynomial_of_each_scaled_sample():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(3, 4, 4, 2)) * np.array([0.001, 1, 50]).reshape(3, 1, 1, 1) + 0.3
    x = x.astype(np.float32)
    value, pull = jax.vjp(lambda x: recu().quantize_activation(x, Context()).value, jnp.asarray(x))
    np.testing.assert_array_equal(value, sign(x))
    upstream = rng.normal(size=x.shape).astype(np.float32)
    gradient = np.asarray(pull(jnp.asarray(upstream))[0], np.float64)
    wide = x.astype(np.float64)
    for n in range(3):
        step = 1e-5 * wide[n].std() * rng.normal(size=x.shape) * (np.arange(3) == n).reshape(3, 1, 1, 1)
        slope = ((through(wide + step) - through(wide - step)) * upstream).sum() / 2
        np.testing.assert_allclose((gradient * step).sum(), slope, rtol=1e-2, atol=1e-3 * np.abs(step).max())


def test_gradient_of_activations_written_out():
    # A sample (3, -1): var = 8, z = x / sqrt(8) = (1.06, -0.35); d/dx of z2 alone, where 2 - 2 |z| = s.
    x = jnp.array([[3.0, -1.0]])
    gradient = jax.grad(lambda x: recu().quantize_activation(x, Context()).value.sum())(x)
    root = np.sqrt(8 + 1e-5)
    s = 2 - 2 / root
    # dvar/dx = 2 (x - mean) = (4, -4); dz2/dx = (0, 1/root) + 1/2 root^-3 dvar/dx.
    np.testing.assert_allclose(gradient[0], [s * 2 / root**3, s * (1 / root - 2 / root**3)], rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_forward_sign_of_activations_is_that_of_what_comes_in(dtype):
    # The square of 1e30 overflows, and 2e-38 over the deviation would underflow.
    x = jnp.array([[1e30, -2e-38, 0], [-jnp.inf, -0.0, 2], [5, 5, 5], [-jnp.inf, jnp.inf, -1e30]], dtype)
    value, pull = jax.vjp(lambda x: recu().quantize_activation(x, Context()).value, x)
    np.testing.assert_array_equal(value, [[1, -1, 1], [-1, 1, 1], [1, 1, 1], [-1, 1, -1]])
    gradient = pull(jnp.ones_like(x))[0]
    assert value.dtype == gradient.dtype == dtype
    assert jnp.isfinite(gradient).all()


def test_nan_stays_nan():
    assert jnp.isnan(recu().quantize_activation(jnp.array([[jnp.nan, 1.0]]), Context()).value[0, 0])
    kernel = KERNEL.copy()
    kernel[0, 0, 0, 1] = np.nan
    assert jnp.isnan(weight(kernel, UPSTREAM, 0.5)[0][0, 0, 0, 1])
