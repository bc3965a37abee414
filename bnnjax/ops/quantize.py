"""Uniform k-bit quantizers on [0, 1], trained straight through."""

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.ops.floats import floats
from bnnjax.ops.straight_through import through


def levels(bits: int) -> int:
    """Returns 2^bits - 1, the highest code of a k-bit quantizer.

    Raises:
      ValueError: if bits is not between 1 and 8.
    """
    if not 1 <= bits <= 8:
        raise ValueError(f"a uniform quantizer takes 1 to 8 bits; got {bits}")
    return 2**bits - 1


def round_codes(x: Array, bits: int) -> Array:
    """round(x (2^k - 1)) for x in [0, 1]: the integer codes 0 .. 2^k - 1, trained as x (2^k - 1).

    Divide by `levels(bits)` for the quantized value, whose derivative is then 1.  Ties go to the even code;
    NaN stays NaN.

    Args:
      x: [...], any float dtype, in [0, 1]; values outside are not clipped here.
      bits: k, 1 to 8.

    Source: DoReFa-Net, Eq. 5-6 (Zhou et al. 2016, arXiv 1606.06160).
    """
    stretched = floats(x) * levels(bits)
    return through(jnp.round(jax.lax.stop_gradient(stretched)), stretched)


@jax.custom_vjp
def clip_unit(x: Array) -> Array:
    """clip(x, 0, 1) with the derivative 1[0 <= x <= 1], ends included; NaN stays NaN, derivative 0.

    Args:
      x: [...], any float dtype.
    """
    return jnp.clip(floats(x), 0, 1)


def _clip_unit_bwd(x: Array, g: Array) -> tuple[Array]:
    return (jnp.where((x >= 0) & (x <= 1), g, jnp.zeros_like(g)),)


clip_unit.defvjp(lambda x: (clip_unit(x), x), _clip_unit_bwd)
