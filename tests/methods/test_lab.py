"""LAB against its formulas in NumPy, and its curvature by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_values import context_of

from bnnjax.methods import Context
from bnnjax.methods.lab import curvature_scale, lab

BELOW, ABOVE = 1 - 2.0**-24, 1 + 2.0**-23
KERNEL = np.array([[0.0, -0.0], [1.0, 0.25], [-1.0, -3.0], [ABOVE, 0.75], [-BELOW, -1.0]], np.float32)
UPSTREAM = np.array([[1.0, -2], [2, 0.5], [-1, 3], [0.25, 1], [4, -1]], np.float32)
CURVATURE = np.array([[0.0, 1], [4, 0.25], [1e-6, 2], [9, 0], [0.5, 3]], np.float32)
X = np.array([-np.inf, -ABOVE, -1, -BELOW, -0.0, 0, 0.5, 1, ABOVE, np.inf], np.float32)


def sign(x):
    return np.where(x >= 0, 1.0, -1.0)


def weight(kernel, curvature, abits=32):
    """Returns What and dL/dW for dL/dWhat = UPSTREAM."""
    context = Context(memory={"curvature": jnp.asarray(curvature)})
    value, pull = jax.vjp(lambda k: lab(1, abits).quantize_weight(k, context).value, jnp.asarray(kernel))
    return np.asarray(value), np.asarray(pull(jnp.asarray(UPSTREAM))[0])


@pytest.mark.parametrize("abits", [1, 32])
def test_scale_is_weighted_by_the_root_of_the_curvature_and_is_a_constant(abits):
    value, gradient = weight(KERNEL, CURVATURE, abits)
    d = np.sqrt(CURVATURE.astype(np.float64)) + 1e-8
    scale = (d * np.abs(KERNEL)).sum() / d.sum()
    assert abs(scale - np.abs(KERNEL).mean()) > 0.1
    np.testing.assert_allclose(value, scale * sign(KERNEL), rtol=1e-6)
    np.testing.assert_allclose(gradient, UPSTREAM, rtol=1e-6)


def test_scale_of_a_fresh_layer_is_the_plain_mean():
    method = lab()
    value = method.quantize_weight(jnp.asarray(KERNEL), context_of(method, KERNEL)).value
    np.testing.assert_allclose(np.abs(value), np.abs(KERNEL).mean(), rtol=1e-6)


def test_two_steps_by_hand():
    method = lab()
    latent = jnp.array([[1.0], [3.0]])
    memory = context_of(method, latent).memory
    np.testing.assert_array_equal(memory["curvature"], [[0], [0]])
    # g = 4, -8: v = 0.016, 0.064, roots 1 : 2, scale (1 + 2 x 3) / 3.
    memory = method.remember_gradient(memory, jnp.array([[4.0], [-8.0]]))
    np.testing.assert_allclose(memory["curvature"], [[0.016], [0.064]], rtol=1e-6)
    np.testing.assert_allclose(curvature_scale(latent, memory["curvature"]), 7 / 3, rtol=1e-6)
    # g = 0, 1: v = 0.999 x 0.016, 0.999 x 0.064 + 0.001.
    memory = method.remember_gradient(memory, jnp.array([[0.0], [1.0]]))
    np.testing.assert_allclose(memory["curvature"], [[0.015984], [0.064936]], rtol=1e-6)
    root = np.sqrt([0.015984, 0.064936]) + 1e-8
    codes, scale, _ = method.quantize_weight(latent, Context(memory=memory))
    np.testing.assert_array_equal(codes, [[1], [1]])
    np.testing.assert_allclose(scale, (root[0] + 3 * root[1]) / root.sum(), rtol=1e-6)


def test_latent_weights_are_clipped():
    np.testing.assert_array_equal(lab().project_latent(jnp.asarray(KERNEL)), np.clip(KERNEL, -1, 1))


@pytest.mark.parametrize("curvature", [0.0, 1.0, 1e30])
@pytest.mark.parametrize("constant", [0.0, -0.0, 0.1, -1e-3])
def test_constant_kernels_give_their_value(constant, curvature):
    kernel = np.full((5, 2), constant, np.float32)
    value, gradient = weight(kernel, np.full((5, 2), curvature, np.float32))
    np.testing.assert_allclose(value, kernel, rtol=1e-5)
    np.testing.assert_allclose(gradient, UPSTREAM * (constant != 0), rtol=1e-6)


def test_nan_weight_stays_nan():
    kernel = KERNEL.copy()
    kernel[2, 1] = np.nan
    assert np.isnan(weight(kernel, CURVATURE)[0][2, 1])


def test_one_bit_activations_are_those_of_bnn():
    method = lab(1, 1)
    value, pull = jax.vjp(lambda x: method.quantize_activation(x, Context()).value, jnp.asarray(X))
    np.testing.assert_array_equal(value, sign(X))
    np.testing.assert_array_equal(pull(jnp.ones_like(X))[0], np.abs(X) <= 1)
    np.testing.assert_array_equal(method.relaxed_activation(jnp.asarray(X)), np.clip(X, -1, 1))
    np.testing.assert_array_equal(method.nonlinearity(jnp.asarray(X)), np.clip(X, -1, 1))


def test_full_precision_activations_pass_a_relu():
    method = lab()
    assert (method.name, method.wbits, method.abits) == ("lab", 1, 32)
    np.testing.assert_array_equal(method.quantize_activation(jnp.asarray(X), Context()).value, X)
    np.testing.assert_array_equal(method.nonlinearity(jnp.asarray(X)), np.maximum(X, 0))


def test_undefined_bits_are_refused():
    with pytest.raises(ValueError, match=r"method lab is not defined for 2/32 .* it is for 1/32, 1/1$"):
        lab(2, 32)
