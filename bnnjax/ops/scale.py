"""Scaling factors of quantized kernels, and the standardization of kernels before quantization.

A kernel is [..., o]: the last axis counts filters, `fan_in` is the number of weights in one.
"""

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.ops.floats import floats


def _filter_axes(kernel: Array) -> tuple[int, ...]:
    return tuple(range(kernel.ndim - 1))


def mean_abs(kernel: Array) -> Array:
    """Returns the mean of |w| of each filter, a_o = ||w_o||_1 / fan_in.

    The least-squares scale of sign(w_o) (XNOR-Net, Rastegari et al. 2016, arXiv 1603.05279, Eq. 6).

    Args:
      kernel: [..., o].

    Returns:
      [o].
    """
    return jnp.mean(jnp.abs(floats(kernel)), axis=_filter_axes(kernel))


def power_of_two(scale: Array) -> Array:
    """Returns 2^round(log2 scale), exactly; 0 stays 0 and NaN stays NaN.  Its derivative is zero.

    A multiplication by it is a bit shift (IR-Net, Qin et al. 2020, arXiv 1909.10788).

    Args:
      scale: [...], not negative.
    """
    scale = floats(scale)
    exact = scale.astype(jnp.float32)  # a bfloat16 logarithm would round to the wrong exponent
    exponent = jnp.round(jnp.log2(jnp.where(exact > 0, exact, 1))).astype(jnp.int32)
    # exp2 may be an ulp off on some backends; ldexp is exact.
    power = jnp.ldexp(jnp.ones_like(exact), exponent).astype(scale.dtype)
    return jax.lax.stop_gradient(jnp.where(scale > 0, power, 0 * scale))  # 0 * NaN is NaN


def standardize(kernel: Array) -> Array:
    """Returns (w_o - mean w_o) / std w_o for each filter, with the unbiased standard deviation.

    A filter whose spread is no larger than the rounding error of its weights counts as constant: it gives
    zeros with a zero gradient.  A filter that holds a NaN gives NaN.

    Args:
      kernel: [..., o], with at least two weights per filter.

    Source: IR-Net's balanced weights (Qin et al. 2020, arXiv 1909.10788).
    """
    kernel = floats(kernel)
    axes = _filter_axes(kernel)
    fan_in = kernel[..., 0].size
    centred = kernel - jnp.mean(kernel, axis=axes)
    # The mean of many equal float32 weights is off by more than one rounding; a second pass corrects it.
    centred = centred - jnp.mean(centred, axis=axes)
    variance = jnp.sum(centred**2, axis=axes) / max(fan_in - 1, 1)
    rounding = jnp.finfo(kernel.dtype).eps * jnp.max(jnp.abs(kernel), axis=axes)
    varies = ~(variance <= rounding**2)  # true for NaN
    # The inner `where` keeps the derivative of the square root finite in the branch not taken.
    inverse = jax.lax.rsqrt(jnp.where(varies, variance, 1))
    return jnp.where(varies, centred * inverse, 0)


@jax.custom_vjp
def unscale_gradient(codes: Array, scale: Array) -> Array:
    """Returns codes, and divides their gradient by the scale of their filter.

    For `codes * scale` this makes the gradient that of the product itself: Bi-Real Net and DoReFa-Net train
    the latent weight with dL/d(codes * scale), without the factor that autodiff would add.  A filter of
    scale 0 gets no gradient.

    Args:
      codes: [..., o].
      scale: [o] or [], not negative; a constant here.
    """
    return floats(codes)


def _unscale_gradient_bwd(scale: Array, g: Array) -> tuple[Array, Array]:
    inverse = jnp.where(scale > 0, 1 / jnp.where(scale > 0, scale, 1), 0).astype(g.dtype)
    return g * inverse, jnp.zeros_like(scale)


unscale_gradient.defvjp(lambda codes, scale: (unscale_gradient(codes, scale), scale), _unscale_gradient_bwd)
