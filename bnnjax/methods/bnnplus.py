"""BNN+: signs trained through SwishSign, and a regularizer that pulls weights to two values."""

import jax.numpy as jnp
from jax import Array

from bnnjax.config.recipe import Recipe
from bnnjax.methods.base import Context, Mean, Method, Quantized, Site, check_bits, signs_of
from bnnjax.ops.sign import hardtanh, surrogate

BETA = 5.0
STRENGTH = 1e-4
FAR = 200.0  # exp(-FAR) is 0 in float32


@surrogate
def sign_swish(x: Array) -> Array:
    """sign(x), trained through SwishSign: dy/dx := b (2 - bx tanh(bx / 2)) / (1 + cosh(bx)) with b = 5.

    The derivative of 2 s(bx) (1 + bx (1 - s(bx))) - 1, s the logistic function: b at x = 0, negative from
    |x| = 0.48 on.  Infinities get 0 and NaN gets NaN.

    Args:
      x: [...], any float dtype.
    """
    # With e = exp(-|z|), 1 / (1 + cosh z) = 2 e / (1 + e)^2: cosh overflows where e only becomes 0.  |z| is
    # bounded for infinities, which times e = 0 would be NaN.
    z = jnp.minimum(BETA * jnp.abs(x), FAR)
    e = jnp.exp(-z)
    return BETA * (2 - z * (1 - e) / (1 + e)) * 2 * e / (1 + e) ** 2


def _quantize(x: Array, context: Context) -> Quantized:
    return signs_of(x, sign_swish(x))


def _initial_alpha(key: Array, site: Site) -> Array:
    return jnp.mean(jnp.abs(site.latent))


def regularizer(latent: Array, x: Array, context: Context, mean: Mean) -> Array:
    """Returns 1e-4 mean |alpha - |W||, alpha learned.

    Args:
      latent: [..., o].
      x: unused.
      context: with "alpha" learned, [].
      mean: unused, since weights are the same on all devices.
    """
    return STRENGTH * jnp.mean(jnp.abs(context.learned["alpha"] - jnp.abs(latent)))


def bnnplus(wbits: int = 1, abits: int = 1) -> Method:
    """Returns BNN+: What = sign(W); x -> sign(x); both trained through SwishSign, `sign_swish`; and the loss
    1e-4 mean |alpha - |W||, averaged over layers, with a learned alpha per layer, initially mean |W|.

    The loss is our reading (unconfirmed): its form (absolute values rather than squares, a mean rather than a
    sum), its weight, one alpha per layer and alpha's initial value.  That alpha does not scale What is
    unconfirmed too.

    Raises:
      ValueError: if the bits are not 1/1.
    """
    check_bits("bnnplus", wbits, abits, [(1, 1)])
    return Method(
        name="bnnplus",
        wbits=1,
        abits=1,
        quantize_weight=_quantize,
        quantize_activation=_quantize,
        signs=True,
        relaxed_activation=hardtanh,
        learned={"alpha": _initial_alpha},
        only_trained=frozenset({"alpha"}),
        layer_loss=regularizer,
        recipe=Recipe(optimizer="adamw", learning_rate=1e-3, weight_decay=0.0, batch_size=50, epochs=500),
        source="Darabi et al. 2018, arXiv 1812.11800 (its recipe is unconfirmed; that of BNN stands in)",
    )
