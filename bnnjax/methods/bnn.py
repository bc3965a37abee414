"""BNN: signs of weights and activations, no scale."""

import jax.numpy as jnp
from jax import Array

from bnnjax.config.recipe import Recipe
from bnnjax.methods.base import Context, Method, Quantized, check_bits, clipped_sign
from bnnjax.ops.sign import hardtanh, sign_identity


def _weight(kernel: Array, context: Context) -> Quantized:
    return Quantized(sign_identity(kernel))


def clip_latent(kernel: Array) -> Array:
    """Returns the latent kernel clipped to [-1, 1], which is done after every update.

    Args:
      kernel: [..., o].
    """
    return jnp.clip(kernel, -1, 1)


def bnn(wbits: int = 1, abits: int = 1) -> Method:
    """Returns BNN: What = sign(W), dWhat/dW := 1, W clipped to [-1, 1]; x -> sign(x), dy/dx := 1[|x| <= 1].

    Left out, since all methods share one recipe: the squared hinge loss and Glorot's factor on updates.

    Raises:
      ValueError: if the bits are not 1/1.
    """
    check_bits("bnn", wbits, abits, [(1, 1)])
    return Method(
        name="bnn",
        wbits=1,
        abits=1,
        quantize_weight=_weight,
        quantize_activation=clipped_sign,
        signs=True,
        relaxed_activation=hardtanh,
        project_latent=clip_latent,
        recipe=Recipe(optimizer="adamw", learning_rate=1e-3, weight_decay=0.0, batch_size=50, epochs=500),
        source="Courbariaux et al. 2016, arXiv 1602.02830",
    )
