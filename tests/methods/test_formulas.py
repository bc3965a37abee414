"""Each method's weights and activations, forward and backward, against its formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from formulas import ABOVE, BELOW, KERNEL, UPSTREAM, sign, weight
from method_values import context_of

from bnnjax.methods import make_method

X = np.array(
    [-np.inf, -ABOVE, -1, -BELOW, -0.5, -0.0, 0, 0.25, 0.5, 0.75, BELOW, 1, ABOVE, np.inf], np.float32
)


def activation(method, progress=0.0):
    context = context_of(method, KERNEL[:1, :1], progress)
    value, pull = jax.vjp(lambda x: method.quantize_activation(x, context).value, jnp.asarray(X)[:, None])
    return np.asarray(value)[:, 0], np.asarray(pull(jnp.ones_like(value))[0])[:, 0]


def test_full_precision_changes_nothing():
    value, gradient = weight(make_method("fp"))
    np.testing.assert_array_equal(value, KERNEL)
    np.testing.assert_array_equal(gradient, UPSTREAM)
    value, gradient = activation(make_method("fp"))
    np.testing.assert_array_equal(value, X)
    np.testing.assert_array_equal(gradient, 1)


def test_bnn_trains_weights_through_the_identity_and_activations_through_the_closed_clip():
    value, gradient = weight(make_method("bnn"))
    np.testing.assert_array_equal(value, sign(KERNEL))
    np.testing.assert_array_equal(gradient, UPSTREAM)
    value, gradient = activation(make_method("bnn"))
    np.testing.assert_array_equal(value, sign(X))
    np.testing.assert_array_equal(gradient, np.abs(X) <= 1)


def test_bnn_clips_its_latent_weights():
    projected = make_method("bnn").project_latent(jnp.asarray(KERNEL))
    np.testing.assert_array_equal(projected, np.clip(KERNEL, -1, 1))


@pytest.mark.parametrize("abits", [1, 32])
def test_xnor_differentiates_the_product_of_scale_and_sign(abits):
    value, gradient = weight(make_method("xnor", 1, abits))
    scale = np.abs(KERNEL).mean(0)
    np.testing.assert_allclose(value, scale * sign(KERNEL), rtol=1e-6)
    through_sign = scale * (np.abs(KERNEL) < 1) * UPSTREAM
    through_scale = sign(KERNEL) / 7 * (UPSTREAM * sign(KERNEL)).sum(0)
    np.testing.assert_allclose(gradient, through_sign + through_scale, rtol=1e-5, atol=1e-6)


def test_xnor_trains_activations_through_the_open_clip():
    value, gradient = activation(make_method("xnor"))
    np.testing.assert_array_equal(value, sign(X))
    np.testing.assert_array_equal(gradient, np.abs(X) < 1)
    value, gradient = activation(make_method("xnor", 1, 32))
    np.testing.assert_array_equal(value, X)
    np.testing.assert_array_equal(gradient, 1)


def test_xnor_centres_over_input_channels_then_clips():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 2)).astype(np.float32)
    projected = make_method("xnor").project_latent(jnp.asarray(kernel))
    expected = np.clip(kernel - kernel.mean(axis=2, keepdims=True), -1, 1)
    np.testing.assert_allclose(projected, expected, atol=1e-6)


@pytest.mark.parametrize("abits", [1, 2, 32])
def test_dorefa_has_one_scale_for_the_whole_layer_and_an_identity_gradient(abits):
    value, gradient = weight(make_method("dorefa", 1, abits))
    np.testing.assert_allclose(value, np.abs(KERNEL).mean() * sign(KERNEL), rtol=1e-6)
    np.testing.assert_allclose(gradient, UPSTREAM, rtol=1e-6)


@pytest.mark.parametrize("wbits", range(2, 9))
def test_dorefa_k_bit_weights(wbits):
    value, gradient = weight(make_method("dorefa", wbits, 1))
    n = 2**wbits - 1
    squashed = np.tanh(KERNEL.astype(np.float64))
    largest = np.abs(squashed).max()
    np.testing.assert_allclose(value, 2 * np.round(n * (squashed / (2 * largest) + 0.5)) / n - 1, atol=1e-6)
    # With q' = 1: What = tanh(W) / m, m = max |tanh W|, attained once, at -3.
    by_squashed = UPSTREAM / largest
    by_largest = -(UPSTREAM * squashed).sum() / largest**2
    by_squashed += np.where(np.abs(squashed) == largest, np.sign(squashed) * by_largest, 0)
    np.testing.assert_allclose(gradient, by_squashed * (1 - squashed**2), rtol=1e-4, atol=1e-5)


def test_dorefa_k_bit_weights_written_out_with_ties():
    # Equal |tanh| at both ends; 0 is a tie of an odd number of steps and goes up, as sign(0) does.
    value, gradient = weight(
        make_method("dorefa", 2, 2), np.array([[-1.0], [0], [1]], np.float32), np.ones((3, 1))
    )
    np.testing.assert_allclose(value, [[-1], [1 / 3], [1]], rtol=1e-6)
    # The two ends share the gradient of the max, in which they cancel.
    np.testing.assert_allclose(gradient.sum(), (1 / np.tanh(1)) * (1 + 2 * (1 - np.tanh(1) ** 2)), rtol=1e-5)


@pytest.mark.parametrize("wbits", range(2, 9))
def test_dorefa_kernel_of_zeros_gives_the_lowest_positive_level_and_trains(wbits):
    value, gradient = weight(make_method("dorefa", wbits, 32), np.zeros((7, 2), np.float32))
    np.testing.assert_allclose(value, 1 / (2**wbits - 1), rtol=1e-6)
    np.testing.assert_allclose(gradient, UPSTREAM, rtol=1e-6)


@pytest.mark.parametrize("abits", range(1, 9))
def test_dorefa_activations(abits):
    value, gradient = activation(make_method("dorefa", 1, abits))
    n = 2**abits - 1
    np.testing.assert_allclose(value, np.round(n * np.clip(X, 0, 1)) / n, atol=1e-6)
    np.testing.assert_allclose(gradient, (X >= 0) & (X <= 1), rtol=1e-6)


def test_bireal_net_leaves_its_scale_out_of_the_gradient():
    value, gradient = weight(make_method("birealnet"))
    np.testing.assert_allclose(value, np.abs(KERNEL).mean(0) * sign(KERNEL), rtol=1e-6)
    np.testing.assert_allclose(gradient, (np.abs(KERNEL) <= 1) * UPSTREAM, rtol=1e-6)


def test_bireal_net_filter_of_zeros_has_no_gradient():
    kernel = KERNEL.copy()
    kernel[:, 1] = 0
    value, gradient = weight(make_method("birealnet"), kernel)
    np.testing.assert_array_equal(value[:, 1], 0)
    np.testing.assert_array_equal(gradient[:, 1], 0)
    assert gradient[:, 0].any()


def test_bireal_net_trains_activations_through_the_polynomial():
    value, gradient = activation(make_method("birealnet"))
    np.testing.assert_array_equal(value, sign(X))
    np.testing.assert_array_equal(gradient, np.maximum(2 - 2 * np.abs(X), 0))


@pytest.mark.parametrize(
    ("progress", "k", "t"), [(0.0, 1000, 0.001), (0.5, 10, 0.1), (0.75, 1, 1), (0.9, 1, 10**0.6)]
)
def test_ir_net_schedule(progress, k, t):
    schedule = make_method("irnet").schedule(jnp.float32(progress))
    np.testing.assert_allclose([schedule["k"], schedule["t"]], [k, t], rtol=1e-5)


@pytest.mark.parametrize("progress", [0.0, 0.5, 0.9])
def test_ir_net_balances_weights_and_trains_through_the_estimator(progress):
    value, gradient = weight(make_method("irnet"), progress=progress)
    w, g = KERNEL.astype(np.float64), UPSTREAM
    deviation = w.std(0, ddof=1)
    z = (w - w.mean(0)) / deviation
    scale = 2 ** np.round(np.log2(np.abs(z).mean(0)))
    np.testing.assert_allclose(value, scale * sign(z), rtol=1e-6)
    t = 10 ** (-3 + 4 * progress)
    k = max(1 / t, 1)
    by_z = g * scale * k * t * (1 - np.tanh(t * z) ** 2)
    by_w = (by_z - by_z.mean(0) - z * (by_z * z).sum(0) / 6) / deviation
    np.testing.assert_allclose(gradient, by_w, rtol=1e-3, atol=1e-5)


def test_ir_net_scale_is_a_power_of_two_below_one_for_spiky_filters():
    spiky = np.zeros((64, 1), np.float32)
    spiky[0] = 1.0  # z = (8 - 1/8, -1/8, ...): mean |z| = 0.246, log2 = -2.02
    value, _ = weight(make_method("irnet"), spiky, np.ones((64, 1), np.float32))
    np.testing.assert_array_equal(np.abs(value), 0.25)


@pytest.mark.parametrize("progress", [0.0, 0.9])
def test_ir_net_trains_activations_through_the_estimator(progress):
    value, gradient = activation(make_method("irnet"), progress)
    np.testing.assert_array_equal(value, sign(X))
    t = 10 ** (-3 + 4 * progress)
    np.testing.assert_allclose(gradient, max(1 / t, 1) * t * (1 - np.tanh(t * X) ** 2), rtol=1e-4)
