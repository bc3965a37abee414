"""XNOR-Net (1/1) and its weights-only form (1/32): signs times the mean absolute value of each filter."""

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.config.recipe import Recipe
from bnnjax.methods.base import Context, Method, Quantized, check_bits, identity, keep, signs_of
from bnnjax.ops.scale import mean_abs
from bnnjax.ops.sign import hardtanh, sign_clip


def _weight(kernel: Array, context: Context) -> Quantized:
    return Quantized(sign_clip(kernel, False), mean_abs(kernel))


def _activation(x: Array, context: Context) -> Quantized:
    return signs_of(x, sign_clip(x, False))


def centre_and_clip(kernel: Array) -> Array:
    """Returns the latent kernel minus its mean over input channels, clipped to [-1, 1].

    Args:
      kernel: [..., i, o].
    """
    return jnp.clip(kernel - jnp.mean(kernel, axis=-2, keepdims=True), -1, 1)


def xnor(wbits: int = 1, abits: int = 1) -> Method:
    """Returns XNOR-Net: What_o = a_o sign(W_o), a_o = mean |W_o|; x -> sign(x), dy/dx := 1[|x| < 1].

    dL/dW = a_o 1[|W| < 1] dL/dWhat + sign(W)/n sum_j dL/dWhat_j sign(W_j), the derivative of the product.
    Left out: the official code's factor n (1 - 1/i), which only rescales the learning rate, and the map of
    activation scales K, which the official code does not compute either.

    Raises:
      ValueError: if the bits are not 1/1 or 1/32.
    """
    check_bits("xnor", wbits, abits, [(1, 1), (1, 32)])
    binary = abits == 1
    return Method(
        name="xnor",
        wbits=1,
        abits=abits,
        quantize_weight=_weight,
        quantize_activation=_activation if binary else keep,
        signs=True,
        relaxed_activation=hardtanh if binary else identity,
        nonlinearity=hardtanh if binary else jax.nn.relu,
        project_latent=centre_and_clip,
        recipe=Recipe(optimizer="adamw", learning_rate=1e-3, weight_decay=0.0),
        source="Rastegari et al. 2016, arXiv 1603.05279",
    )
