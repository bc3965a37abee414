"""Binary layers: values, shapes, dtypes and parameter names."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_values import in_layer, network_context

from bnnjax.methods import METHODS, make_method
from bnnjax.nn.layers import BinaryConv, BinaryDense
from bnnjax.ops.conv import conv

CHOICES = [(name, None, None) for name in METHODS] + [("dorefa", 3, 2), ("dorefa", 32, 1), ("irnet", 1, 32)]
IMAGES = jnp.asarray(np.random.default_rng(0).normal(0.3, 0.7, (2, 6, 5, 4)), jnp.float32)


def build(layer, x, method):
    """Returns random variables, the layer's output, and the context of its quantizers."""
    context = network_context(method, training=False)
    shapes = jax.eval_shape(lambda x: layer.init(jax.random.key(0), x, context), x)
    rng = np.random.default_rng(1)

    def fill(path, leaf):
        # What is remembered may be a variance.
        value = np.abs if path[0].key == "batch_stats" else np.asarray
        return jnp.asarray(0.5 * value(rng.normal(size=leaf.shape)), leaf.dtype)

    variables = jax.tree_util.tree_map_with_path(fill, shapes)
    within = in_layer(context, variables["params"], variables.get("batch_stats", {}))
    return variables, jax.jit(layer.apply)(variables, x, context)[0], within


@pytest.mark.parametrize(
    ("name", "wbits", "abits", "stride", "padding_value", "shape"),
    [(*choice, 1, 0.0, (2, 6, 5, 7)) for choice in CHOICES]
    + [(*choice, 2, -1.0, (2, 3, 3, 7)) for choice in (("xnor", 1, 1), ("dorefa", 3, 2))],
)
def test_conv_is_the_convolution_of_both_quantized_values(name, wbits, abits, stride, padding_value, shape):
    method = make_method(name, wbits, abits)
    layer = BinaryConv(7, method, stride=stride, padding_value=padding_value)
    variables, y, context = build(layer, IMAGES, method)
    chex.assert_shape(y, shape)
    chex.assert_type(y, jnp.float32)
    key = "kernel" if method.wbits == 32 else "latent"
    chex.assert_shape(variables["params"][key], (3, 3, 4, 7))
    chex.assert_type(variables["params"][key], jnp.float32)
    # Padding is in units of the codes, hence times the scale of activations.
    codes, scale, _ = method.quantize_activation(IMAGES, context)
    border = padding_value * (1 if scale is None else float(scale))
    value = codes if scale is None else codes * scale
    kernel = method.quantize_weight(variables["params"][key], context).value
    expected = conv(value, kernel, stride=stride, padding=1, padding_value=border)
    if name == "xnorplusplus":  # its value has the largest scale of all pixels
        learned = context.learned
        largest = learned["row_scale"][:, None, None] * learned["column_scale"][:, None]
        expected = expected / jnp.abs(learned["filter_scale"]) / jnp.max(jnp.abs(largest))
        expected = expected * learned["filter_scale"] * largest
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "wbits", "abits"), CHOICES)
def test_dense_is_the_product_of_both_quantized_values(name, wbits, abits):
    method = make_method(name, wbits, abits)
    x = IMAGES.reshape(2, -1)
    variables, y, context = build(BinaryDense(7, method), x, method)
    chex.assert_shape(y, (2, 7))
    kernel = variables["params"]["kernel" if method.wbits == 32 else "latent"]
    value = method.quantize_activation(x, context).value
    expected = value @ method.quantize_weight(kernel, context).value
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_bfloat16_activations_give_bfloat16_and_float32_parameters(name):
    method = make_method(name)
    for layer, x in ((BinaryConv(7, method), IMAGES), (BinaryDense(7, method), IMAGES.reshape(2, -1))):
        variables, y, _ = build(layer, x.astype(jnp.bfloat16), method)
        chex.assert_type(y, jnp.bfloat16)
        chex.assert_type(jax.tree.leaves(variables), jnp.float32)
        chex.assert_tree_all_finite(y.astype(jnp.float32))


@pytest.mark.parametrize("name", ["bnn", "xnor", "birealnet", "irnet"])
def test_order_of_input_channels_does_not_change_a_bit(name):
    method = make_method(name)
    variables, y, context = build(BinaryConv(7, method), IMAGES, method)
    # The scale comes from the kernel in its own order, whose sum may round otherwise: take it as it is.
    order = jnp.array([2, 0, 3, 1])
    weight = method.quantize_weight(variables["params"]["latent"], context)
    codes = method.quantize_activation(IMAGES[..., order], context).codes
    shuffled = conv(codes, weight.codes[:, :, order], padding=1)
    np.testing.assert_array_equal(y, shuffled if weight.scale is None else shuffled * weight.scale)


@pytest.mark.parametrize("name", METHODS)
def test_gradients_are_finite_even_at_a_kernel_of_zeros(name):
    method = make_method(name)
    layer = BinaryConv(7, method)
    variables, _, _ = build(layer, IMAGES, method)
    context = network_context(method)
    gradient = jax.jit(jax.grad(lambda v, x: jnp.sum(layer.apply(v, x, context)[0] ** 2), (0, 1)))
    for factor in (1, 0):
        params = jax.tree.map(lambda leaf, factor=factor: factor * leaf, variables["params"])
        chex.assert_tree_all_finite(gradient({**variables, "params": params}, IMAGES))


def test_one_by_one_kernel_is_not_padded():
    method = make_method("fp")
    _, y, _ = build(BinaryConv(3, method, kernel_size=1, stride=2), IMAGES, method)
    chex.assert_shape(y, (2, 3, 3, 3))
