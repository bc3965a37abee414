"""XNOR-Net++: its scales are one number for each output pixel and filter."""

import jax
import jax.numpy as jnp
import numpy as np

from bnnjax.methods import Context
from bnnjax.methods.xnorplusplus import xnorplusplus
from bnnjax.nn.layers import BinaryConv

X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 5, 3)), jnp.float32)


def test_a_layer_scales_filters_rows_and_columns():
    rng = np.random.default_rng(1)
    layer = BinaryConv(4, xnorplusplus(), stride=2)
    variables = layer.init(jax.random.key(0), X, Context())
    y, _ = layer.apply(variables, X, Context())
    assert y.shape == (2, 3, 3, 4)
    learned = {
        "filter_scale": rng.normal(size=4),
        "row_scale": rng.uniform(size=3),
        "column_scale": rng.uniform(size=3),
    }
    assert {name: value.shape for name, value in variables["params"]["learned"].items()} == {
        name: value.shape for name, value in learned.items()
    }
    variables["params"]["learned"] = jax.tree.map(jnp.float32, learned)
    scaled, weight = layer.apply(variables, X, Context())
    a, b, c = (learned[name] for name in ("filter_scale", "row_scale", "column_scale"))
    np.testing.assert_allclose(scaled, y * b[:, None, None] * c[:, None] * a, rtol=1e-5)
    np.testing.assert_allclose(weight.channel_scale, np.abs(a) * b.max() * c.max(), rtol=1e-5)
    np.testing.assert_allclose(weight.value, weight.codes * weight.channel_scale, rtol=1e-6)


def test_signs_are_trained_through_the_closed_clip_and_scales_through_the_product():
    method = xnorplusplus()
    x = jnp.array([[-1.5, -1.0, -0.0, 0.0, 1.0, 1.5]])
    scales = {"filter_scale": jnp.ones(6), "row_scale": jnp.ones(1), "column_scale": jnp.ones(1)}
    context = Context(learned=scales)
    for quantize in (method.quantize_weight, method.quantize_activation):
        codes, pull = jax.vjp(lambda x, quantize=quantize: quantize(x, context).codes, x)
        np.testing.assert_array_equal(codes, [[-1, -1, 1, 1, 1, 1]])
        np.testing.assert_array_equal(pull(jnp.ones_like(x))[0], [[0, 1, 1, 1, 1, 0]])
