"""Second derivatives: gradients by the input, differentiated by parameters."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.ops.batch_norm import batch_norm
from bnnjax.ops.channelwise import channelwise
from bnnjax.ops.conv import conv
from bnnjax.ops.quantize import clip_unit, round_codes
from bnnjax.ops.scale import unscale_gradient
from bnnjax.ops.sign import hardtanh, sign_clip, sign_ede, sign_identity, sign_polynomial

X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 8)), jnp.float32)
FUNCTIONS = {
    "sign_identity": sign_identity,
    "sign_clip": sign_clip,
    "sign_clip, open": partial(sign_clip, closed=False),
    "sign_polynomial": sign_polynomial,
    "sign_ede": lambda x: sign_ede(x, jnp.float32(1.5), jnp.float32(0.7)),
    "hardtanh": hardtanh,
    "round_codes": lambda x: round_codes(x, 3),
    "clip_unit": clip_unit,
    "unscale_gradient": lambda x: unscale_gradient(x, jnp.float32(2)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_value_that_comes_with_its_pull_back_still_has_the_surrogate_gradient(name):
    function = FUNCTIONS[name]
    once = jax.grad(lambda x: jnp.sum(X * function(x)))(X)
    beside = jax.grad(lambda x: jnp.sum(X * jax.vjp(function, x)[0]))(X)
    assert np.any(once)
    np.testing.assert_array_equal(beside, once)


@pytest.mark.parametrize(
    ("name", "slope_of_slope"),
    [
        ("sign_clip", lambda x: 0 * x),
        ("sign_polynomial", lambda x: np.where(np.abs(x) < 1, -2 * np.sign(x), 0)),
        ("sign_ede", lambda x: -2 * 1.5 * 0.7**2 * np.tanh(0.7 * x) / np.cosh(0.7 * x) ** 2),
    ],
)
def test_the_slope_of_a_surrogate_has_its_own(name, slope_of_slope):
    twice = jax.grad(lambda x: jnp.sum(jax.vjp(FUNCTIONS[name], x)[1](jnp.ones_like(x))[0]))(X)
    np.testing.assert_allclose(twice, slope_of_slope(np.asarray(X)), rtol=1e-4, atol=1e-6)


def soft_leak(x, parameters):
    return jnp.tanh(x) + parameters["slope"] * x


def fast(params, images):
    """The network of `plain`, built of this package's functions."""
    y = conv(images, params["first"], stride=2, padding=1)
    y, _, _ = batch_norm(y, None, params["gain"], params["bias"], jnp.tanh, 1e-3, None)
    z, _, _ = batch_norm(
        conv(y, params["second"], padding=1), y, params["gain"], params["bias"], jnp.tanh, 1e-3, None
    )
    return channelwise(soft_leak, z, {"slope": params["slope"]}).mean((1, 2)) @ params["dense"]


def plain(params, images):
    """Convolution, batch norm, tanh; again with a shortcut; a learned activation, mean, dense layer."""

    def convolve(x, kernel, stride):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), [(1, 1)] * 2, dimension_numbers=layout
        )

    def normalize(y):
        mean, variance = y.mean((0, 1, 2)), y.var((0, 1, 2))
        return (y - mean) / jnp.sqrt(variance + 1e-3) * params["gain"] + params["bias"]

    y = jnp.tanh(normalize(convolve(images, params["first"], 2)))
    z = jnp.tanh(normalize(convolve(y, params["second"], 1)) + y)
    return (jnp.tanh(z) + params["slope"] * z).mean((1, 2)) @ params["dense"]


def test_the_gradient_of_an_input_gradient_is_that_of_plain_functions():
    rng = np.random.default_rng(1)
    shapes = {"first": (3, 3, 2, 4), "second": (3, 3, 4, 4), "gain": (4,), "bias": (4,), "slope": (4,)}
    params = {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}
    params["dense"] = jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)
    images = jnp.asarray(rng.normal(size=(3, 6, 6, 2)), jnp.float32)
    v = jnp.asarray(rng.normal(size=(3, 3)), jnp.float32)

    def loss(params, network):
        logits, pull = jax.vjp(partial(network, params), images)
        return jnp.sum(logits**2) + jnp.sum(pull(v)[0] ** 2)

    value, gradient = jax.jit(jax.value_and_grad(loss), static_argnums=1)(params, fast)
    exact, expected = jax.jit(jax.value_and_grad(loss), static_argnums=1)(params, plain)
    np.testing.assert_allclose(value, exact, rtol=1e-4)
    for name, leaf in expected.items():
        scale = float(jnp.abs(leaf).max())
        np.testing.assert_allclose(gradient[name], leaf, rtol=1e-3, atol=1e-3 * scale, err_msg=name)


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "padding"), [(6, 3, 1, 1), (7, 3, 2, 1), (6, 1, 2, 0), (2, 3, 1, 1)]
)
def test_the_input_gradient_of_a_convolution_is_differentiated_as_autodiff_does(
    size, kernel_size, stride, padding
):
    rng = np.random.default_rng(2)
    x, kernel = (
        jnp.asarray(rng.normal(size=shape), jnp.float32)
        for shape in ((2, size, size, 3), (kernel_size, kernel_size, 3, 4))
    )

    def autodiff(x, kernel):
        border, layout = [(padding, padding)] * 2, ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (stride, stride), border, dimension_numbers=layout)

    def loss(v, kernel, function):
        return jnp.sum(jnp.sin(jax.vjp(lambda x: function(x, kernel), x)[1](v)[0]))

    v = jnp.asarray(rng.normal(size=autodiff(x, kernel).shape), jnp.float32)
    found = jax.grad(loss, (0, 1))(v, kernel, partial(conv, stride=stride, padding=padding))
    for left, right in zip(found, jax.grad(loss, (0, 1))(v, kernel, autodiff), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-4)
