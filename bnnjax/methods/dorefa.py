"""DoReFa-Net: k-bit weights and activations, with independent bit widths."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.config.recipe import Recipe
from bnnjax.methods.base import Context, Method, Quantized, identity, keep
from bnnjax.ops.quantize import clip_unit, levels, round_codes
from bnnjax.ops.scale import unscale_gradient
from bnnjax.ops.sign import hardtanh, sign_identity


def _binary_weight(kernel: Array, context: Context) -> Quantized:
    scale = jax.lax.stop_gradient(jnp.mean(jnp.abs(kernel)))
    return Quantized(unscale_gradient(sign_identity(kernel), scale), scale)


def _weight(kernel: Array, context: Context, *, bits: int) -> Quantized:
    squashed = jnp.tanh(kernel)
    largest = jnp.max(jnp.abs(squashed))
    unit = squashed / (2 * jnp.where(largest > 0, largest, 1)) + 0.5
    # 2 q_k(u) - 1 = (2 round(n u) - n) / n with n = 2^k - 1: odd integers times 1 / n.
    codes = 2 * round_codes(unit, bits) - levels(bits)
    return Quantized(codes, jnp.asarray(1 / levels(bits), codes.dtype))


def _activation(x: Array, context: Context, *, bits: int) -> Quantized:
    codes = round_codes(clip_unit(x), bits)
    return Quantized(codes, jnp.asarray(1 / levels(bits), codes.dtype))


def dorefa(wbits: int = 1, abits: int = 1) -> Method:
    """Returns DoReFa-Net with n = 2^k - 1 levels above the lowest:

        1-bit weights   What = E sign(W), E = mean |W| over the whole layer, dWhat/dW := 1
        k-bit weights   What = 2 q_k(tanh(W) / (2 max |tanh W|) + 1/2) - 1, dq_k := 1
        activations     q_k(clip(x, 0, 1)), dq_k := 1;  q_k(u) = round(n u) / n
        32 bits         as they are

    The classifier, the stem and the gradients stay in full precision.

    Raises:
      ValueError: if the bits are not 1 to 8 or 32 each, or both 32.
    """
    choices = [*range(1, 9), 32]
    defined = [(w, a) for w in choices for a in choices if (w, a) != (32, 32)]
    if (wbits, abits) not in defined:
        raise ValueError(
            f"method dorefa is not defined for {wbits}/{abits} (weight/activation bits); it is for 1 to 8 or "
            "32 of each, except 32/32"
        )
    weight = {1: _binary_weight, 32: keep}.get(wbits, partial(_weight, bits=wbits))
    quantized = abits != 32
    return Method(
        name="dorefa",
        wbits=wbits,
        abits=abits,
        quantize_weight=weight,
        quantize_activation=partial(_activation, bits=abits) if quantized else keep,
        relaxed_activation=clip_unit if quantized else identity,
        nonlinearity=hardtanh if quantized else jax.nn.relu,
        recipe=Recipe(optimizer="adamw", learning_rate=2e-4, weight_decay=0.0, batch_size=256, epochs=90),
        source="Zhou et al. 2016, arXiv 1606.06160",
    )
