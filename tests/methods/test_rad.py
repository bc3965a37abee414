"""RAD: its quantizers and its loss on distributions against formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_values import context_of

from bnnjax.methods import Context
from bnnjax.methods.base import identity
from bnnjax.methods.rad import rad

BELOW, ABOVE = 1 - 2.0**-24, 1 + 2.0**-23
KERNEL = np.array([[0.0, -0.0], [1.0, 0.25], [-1.0, -3.0], [ABOVE, -0.5]], np.float32)


def sign(x):
    return np.where(x >= 0, 1.0, -1.0)


def expected_loss(x, strength=2.0):
    """The formula in float64, for x [..., c]."""
    flat = np.asarray(x, np.float64).reshape(-1, x.shape[-1])
    mu, sigma = flat.mean(0), np.sqrt(flat.var(0) + 1e-10)
    first = np.maximum(np.minimum(2 - mu - sigma, 2 + mu - sigma), 0) ** 2
    second = np.maximum(sigma - 4, 0) ** 2
    third = np.maximum(mu**2 - sigma**2, 0)
    return strength * (first.mean() + second.mean() + third.mean())


def channels(seed=0):
    """[6, 5, 4, 5]: concentrated, saturated, one-sided, in order, constant."""
    rng = np.random.default_rng(seed)
    scale, shift = np.array([0.5, 6, 1, 2.5, 0]), np.array([0.1, -0.3, -3, 0.2, 0.25])
    return (rng.normal(size=(6, 5, 4, 5)) * scale + shift).astype(np.float32)


def loss_of(x, progress=0.0, mean=identity):
    method = rad()
    return method.layer_loss(jnp.asarray(KERNEL), x, context_of(method, KERNEL, progress), mean)


def test_weights_are_signs_trained_through_the_identity():
    method = rad()
    upstream = jnp.arange(8.0).reshape(4, 2) - 3
    value, pull = jax.vjp(lambda w: method.quantize_weight(w, Context()).value, jnp.asarray(KERNEL))
    np.testing.assert_array_equal(value, sign(KERNEL))
    np.testing.assert_array_equal(pull(upstream)[0], upstream)
    np.testing.assert_array_equal(method.project_latent(jnp.asarray(KERNEL)), np.clip(KERNEL, -1, 1))


def test_activations_are_trained_through_the_open_clip():
    method = rad()
    x = np.array([[-np.inf, -1, -BELOW, -0.0, 0, BELOW, 1, ABOVE, np.inf]], np.float32)
    value, pull = jax.vjp(lambda x: method.quantize_activation(x, Context()).value, jnp.asarray(x))
    np.testing.assert_array_equal(value, sign(x))
    np.testing.assert_array_equal(pull(jnp.full_like(value, 3))[0], 3 * (np.abs(x) < 1))


def test_what_the_loss_sees_is_not_clipped():
    np.testing.assert_array_equal(rad().nonlinearity(jnp.array([-5.0, 5.0])), [-5, 5])


@pytest.mark.parametrize("kept", [[0], [1], [2], [3], [4], [0, 1, 2, 3, 4]])
def test_loss_of_each_kind_of_channel(kept):
    x = channels()[..., kept]
    expected = expected_loss(x)
    assert (expected > 0.01) == (kept != [3])
    np.testing.assert_allclose(loss_of(jnp.asarray(x)), expected, rtol=1e-4)


def test_loss_written_out():
    # mu = 0, sigma = 1: (2 - 1)^2; mu = 3, sigma = 1: 9 - 1; mu = 1, sigma = 5: (5 - 4)^2.
    x = jnp.array([[-1.0, 2, -4], [1, 4, 6]])
    np.testing.assert_allclose(loss_of(x), 2 * (1 + 8 + 1) / 3, rtol=1e-6)


def test_loss_of_bfloat16_is_float32():
    x = jnp.asarray(channels(), jnp.bfloat16)
    loss = loss_of(x)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, expected_loss(np.asarray(x, np.float64)), rtol=1e-4)


def test_gradient_of_the_loss_is_its_slope():
    x = channels()[..., :4]
    gradient = np.asarray(jax.grad(loss_of)(jnp.asarray(x)))
    rng = np.random.default_rng(1)
    for _ in range(4):
        direction = rng.normal(size=x.shape) + np.array([1, -1, 1, 1])
        step = 1e-4 * direction
        slope = (expected_loss(x + step) - expected_loss(x - step)) / 2e-4
        np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-3)
    assert not gradient[..., 3].any()


def test_gradient_of_a_constant_channel_is_finite():
    gradient = jax.grad(loss_of)(jnp.full((4, 3, 3, 2), 0.1))
    assert jnp.isfinite(gradient).all()


def test_statistics_are_those_of_all_devices():
    halves = jnp.asarray(channels()).reshape(2, 3, 5, 4, 5)
    losses = jax.vmap(lambda x: loss_of(x, mean=lambda t: jax.lax.pmean(t, "d")), axis_name="d")(halves)
    np.testing.assert_allclose(losses, expected_loss(channels()), rtol=1e-4)


@pytest.mark.parametrize(("epoch", "strength"), [(0, 2), (59, 2), (60, 0), (64, 0), (65, 0)])
def test_loss_is_there_for_sixty_of_sixty_five_epochs(epoch, strength):
    x = channels()
    progress = jnp.float32(epoch) / 65
    np.testing.assert_allclose(loss_of(jnp.asarray(x), progress), expected_loss(x, strength), rtol=1e-4)
