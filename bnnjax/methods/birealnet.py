"""Bi-Real Net: a closer surrogate of the sign, scaled signs of weights, no nonlinearity between blocks."""

import jax
from jax import Array

from bnnjax.config.recipe import Recipe
from bnnjax.methods.base import Context, Method, Quantized, check_bits, identity, signs_of
from bnnjax.ops.scale import mean_abs, unscale_gradient
from bnnjax.ops.sign import hardtanh, sign_clip, sign_polynomial


def scaled_sign(kernel: Array, context: Context) -> Quantized:
    """Returns a_o sign(W_o), a_o = mean |W_o| a constant, with dWhat/dW := 1[|W| <= 1]."""
    scale = jax.lax.stop_gradient(mean_abs(kernel))
    return Quantized(unscale_gradient(sign_clip(kernel), scale), scale)


def _activation(x: Array, context: Context) -> Quantized:
    return signs_of(x, sign_polynomial(x))


def birealnet(wbits: int = 1, abits: int = 1) -> Method:
    """Returns Bi-Real Net: What_o = a_o sign(W_o), a_o = mean |W_o| a constant, dWhat/dW := 1[|W| <= 1]
    without the factor a_o; x -> sign(x), dy/dx := max(2 - 2|x|, 0).

    Its shortcut around every convolution is `--structure bireal`.

    Raises:
      ValueError: if the bits are not 1/1.
    """
    check_bits("birealnet", wbits, abits, [(1, 1)])
    return Method(
        name="birealnet",
        wbits=1,
        abits=1,
        quantize_weight=scaled_sign,
        quantize_activation=_activation,
        signs=True,
        relaxed_activation=hardtanh,
        nonlinearity=identity,
        recipe=Recipe(optimizer="adamw", learning_rate=1e-3, weight_decay=0.0, batch_size=512, epochs=256),
        source="Liu et al. 2018, arXiv 1808.00278 (trained on ImageNet; no CIFAR-10 recipe is published)",
    )
