"""A trained network for attacks: its own forward pass, bit for bit, with a smoothed backward pass.

The surrogate gradients that binarized networks are trained with are narrow: beyond them the gradient is zero,
and an attack that follows it fails against a network that is not robust at all.
"""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bnnjax.methods import Context, Method, Quantized
from bnnjax.ops.sign import hardtanh
from bnnjax.ops.straight_through import through

SURROGATE = "surrogate_temperature"  # in a method's schedule
# Where sech^2(d) passes 1/8, 3/8, 5/8, 7/8.
HALF_WIDTHS = tuple(float(d) for d in np.arccosh((np.arange(0.5, 4) / 4) ** -0.5))


def _checkerboard(x: Array) -> Array:
    """Returns +1 and -1 alternating along all axes but the first, which leaves means unchanged."""
    place = sum(jax.lax.broadcasted_iota(jnp.int32, (1, *x.shape[1:]), axis) for axis in range(1, x.ndim))
    return jnp.where(place % 2 == 0, 1, -1).astype(x.dtype)


def smoothed_quantizer(
    quantize: Callable[[Array, Context], Quantized],
) -> Callable[[Array, Context], Quantized]:
    """Returns the quantizer q of activations with the derivative of what it is on average under noise:

        dq/dx := 1/(2 t K) sum_k q(x + t d_k) - q(x - t d_k),  K = 4,  t = schedule["surrogate_temperature"]

    For q = sign that is d/dx tanh(x / t) quantized to K steps of equal height; a staircase of more levels, or
    with learned thresholds, is smoothed likewise (our reading).  x + t d_k moves neighbours in opposite
    directions, since quantizers that subtract an image's mean would undo a common shift.

    Args:
      quantize: (activations [batch, ..., c], context) -> codes and scale; the scale must not depend on x.
    """

    @jax.custom_vjp
    def apply(x: Array, context: Context) -> Quantized:
        return quantize(x, context)

    def backward(residuals: tuple[Array, Context], g: Quantized) -> tuple[Array, None]:
        x, context = residuals
        t, signs = context.schedule[SURROGATE].astype(x.dtype), _checkerboard(x)
        slope = jnp.zeros_like(x)
        for half_width in HALF_WIDTHS:
            shift = t * half_width * signs
            slope += signs * (quantize(x + shift, context).codes - quantize(x - shift, context).codes)
        return g.codes * slope / (2 * t * len(HALF_WIDTHS)), None

    apply.defvjp(lambda x, context: (apply(x, context), (x, context)), backward)
    return apply


def clip_straight(x: Array) -> Array:
    """clip(x, -1, 1) with the derivative 1 everywhere.

    A clip between units would mask gradients twice, since the sign behind it has its own surrogate.

    Args:
      x: [...], any float dtype.
    """
    return through(hardtanh(jax.lax.stop_gradient(x)), x)


def quantizes_activations(method: Method) -> bool:
    """Returns whether the method quantizes activations, whose derivatives can be smoothed."""
    return method.abits < 32


def smoothed(method: Method, temperature: Array) -> Method:
    """Returns the method with the same forward pass and smoothed derivatives of its quantized activations.

    Args:
      method: one that quantizes activations.
      temperature: t of `smoothed_quantizer`, [], above 0; may be traced.
    """
    return replace(
        method,
        quantize_activation=smoothed_quantizer(method.quantize_activation),
        nonlinearity=clip_straight if method.nonlinearity is hardtanh else method.nonlinearity,
        schedule=lambda progress: {**method.schedule(progress), SURROGATE: jnp.float32(temperature)},
    )
