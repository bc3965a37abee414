"""TWN: ternary weights by a threshold, with one scale per layer."""

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.methods.base import Context, Method, Quantized, check_bits, identity, keep
from bnnjax.ops.scale import unscale_gradient
from bnnjax.ops.sign import sign
from bnnjax.ops.straight_through import through

THRESHOLD = 0.7  # times the mean absolute value


def ternary_identity(x: Array, threshold: Array) -> Array:
    """Returns sign(x) where |x| > threshold, else 0, trained through the identity; NaN stays NaN.

    Args:
      x: [...], any float dtype.
      threshold: [], not negative; its derivative is zero.
    """
    constant = jax.lax.stop_gradient(x)
    above = jnp.abs(constant) > threshold
    return through(jnp.where(above, sign(constant), jnp.where(jnp.isnan(constant), constant, 0)), x)


def ternary_scale(kernel: Array, threshold: Array, axis: int | tuple[int, ...] | None = None) -> Array:
    """Returns the mean of the |w| above the threshold, or the threshold itself if there are none.

    This is the least-squares scale of the ternary codes.  If all codes are 0, any scale gives the same value;
    the threshold keeps the gradient alive, and is NaN where a weight is NaN.

    Args:
      kernel: [..., o].
      threshold: [].
      axis: what the mean is over; None is all.
    """
    absolute = jnp.abs(kernel)
    above = absolute > threshold
    count = jnp.sum(above, axis=axis)
    total = jnp.sum(jnp.where(above, absolute, 0), axis=axis)
    return jnp.where(count > 0, total / jnp.maximum(count, 1), threshold)


def _weight(kernel: Array, context: Context) -> Quantized:
    constant = jax.lax.stop_gradient(kernel)
    threshold = THRESHOLD * jnp.mean(jnp.abs(constant))
    scale = ternary_scale(constant, threshold)
    return Quantized(unscale_gradient(ternary_identity(kernel, threshold), scale), scale)


def twn(wbits: int = 2, abits: int = 32) -> Method:
    """Returns TWN: What = a T, T = sign(W) 1[|W| > D], D = 0.7 mean |W|, a = mean of |W| over |W| > D,
    both over the whole layer and constants, dWhat/dW := 1; x as it is, after a ReLU.

    Left out: the clipping of latent weights, which the authors' code defines but does not call.  Their
    CIFAR-10 recipe is unconfirmed.

    Raises:
      ValueError: if the bits are not 2/32.
    """
    check_bits("twn", wbits, abits, [(2, 32)])
    return Method(
        name="twn",
        wbits=2,
        abits=32,
        quantize_weight=_weight,
        quantize_activation=keep,
        relaxed_activation=identity,
        nonlinearity=jax.nn.relu,
        source="Li et al. 2016, arXiv 1605.04711",
    )
