"""LAB: loss-aware binarization, signs times a scale that is weighted by the loss's curvature."""

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.config.recipe import Recipe
from bnnjax.methods.base import (
    Context,
    Method,
    Quantized,
    Site,
    Values,
    check_bits,
    clipped_sign,
    identity,
    keep,
)
from bnnjax.methods.bnn import clip_latent
from bnnjax.ops.scale import unscale_gradient
from bnnjax.ops.sign import hardtanh, sign_identity

KEPT = 0.999  # share of the old curvature at every step
FLOOR = 1e-8  # added to the curvature's root


def curvature_scale(kernel: Array, curvature: Array) -> Array:
    """Returns sum(d |W|) / sum(d), d = sqrt(v) + 1e-8: at v = 0 the mean absolute value.

    Args:
      kernel: W, [..., o].
      curvature: v, of the same shape, not negative.

    Returns:
      [].
    """
    d = jnp.sqrt(curvature) + FLOOR
    return jnp.sum(d * jnp.abs(kernel)) / jnp.sum(d)


def _weight(kernel: Array, context: Context) -> Quantized:
    scale = jax.lax.stop_gradient(curvature_scale(kernel, context.memory["curvature"]))
    return Quantized(unscale_gradient(sign_identity(kernel), scale), scale)


def _initial_curvature(key: Array, site: Site) -> Array:
    return jnp.zeros_like(site.latent)


def _remember_gradient(memory: Values, gradient: Array) -> Values:
    return {"curvature": KEPT * memory["curvature"] + (1 - KEPT) * gradient**2}


def lab(wbits: int = 1, abits: int = 32) -> Method:
    """Returns LAB: What = a sign(W), a = sum(d |W|) / sum(d) over the layer, d = sqrt(v) + 1e-8, a constant,
    dWhat/dW := 1, W clipped to [-1, 1]; v <- 0.999 v + 0.001 (dL/dWhat)^2 after each step, from 0;
    x as it is after a ReLU with 32 bits, x -> sign(x), dy/dx := 1[|x| <= 1] with 1.

    Left out, since all methods share one recipe: the squared hinge loss and the whitened images.

    Raises:
      ValueError: if the bits are not 1/32 or 1/1.
    """
    check_bits("lab", wbits, abits, [(1, 32), (1, 1)])
    binary = abits == 1
    return Method(
        name="lab",
        wbits=1,
        abits=abits,
        quantize_weight=_weight,
        quantize_activation=clipped_sign if binary else keep,
        signs=True,
        relaxed_activation=hardtanh if binary else identity,
        nonlinearity=hardtanh if binary else jax.nn.relu,
        memory={"curvature": _initial_curvature},
        remember_gradient=_remember_gradient,
        project_latent=clip_latent,
        recipe=Recipe(optimizer="adamw", learning_rate=0.02, weight_decay=0.0, batch_size=50, epochs=200),
        source="Hou et al. 2017, arXiv 1611.01600",
    )
