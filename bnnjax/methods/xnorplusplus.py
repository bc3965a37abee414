"""XNOR-Net++: a learned scale for each output, the product of factors per channel, row and column."""

import jax.numpy as jnp
from jax import Array

from bnnjax.config.recipe import Recipe
from bnnjax.methods.base import Context, Initial, Method, Quantized, check_bits, clipped_sign
from bnnjax.ops.sign import hardtanh, sign_clip


def _ones(axis: int) -> Initial:
    return lambda key, site: jnp.ones((1, 1, *site.output_shape)[axis])


def _weight(kernel: Array, context: Context) -> Quantized:
    scale = context.learned["filter_scale"]
    if kernel.ndim == 4:  # a dense layer has no rows and columns
        scale = scale * context.learned["row_scale"][:, None, None] * context.learned["column_scale"][:, None]
    return Quantized(sign_clip(kernel), scale)


def xnorplusplus(wbits: int = 1, abits: int = 1) -> Method:
    """Returns XNOR-Net++: y = G conv(sign(x), sign(W)), G[h, w, o] = a_o b_h c_w learned from 1;
    both signs trained through the clip, 1[|.| <= 1].

    This is the most general of the four forms of G; it ties a network to one image size.  That the scales
    start at 1 is our reading (unconfirmed), and so is the recipe, that of the author's later library.

    Raises:
      ValueError: if the bits are not 1/1.
    """
    check_bits("xnorplusplus", wbits, abits, [(1, 1)])
    return Method(
        name="xnorplusplus",
        wbits=1,
        abits=1,
        quantize_weight=_weight,
        quantize_activation=clipped_sign,
        signs=True,
        relaxed_activation=hardtanh,
        learned={"filter_scale": _ones(-1), "row_scale": _ones(-3), "column_scale": _ones(-2)},
        only_trained=frozenset({"filter_scale"}),
        recipe=Recipe(optimizer="adamw", learning_rate=1e-3, weight_decay=1e-2),
        source="Bulat and Tzimiropoulos 2019, arXiv 1909.13863",
    )
