"""The convolution: NHWC images, HWIO kernels."""

import jax
import jax.numpy as jnp
from jax import Array


def conv(x: Array, kernel: Array, *, stride: int = 1, padding: int = 0, padding_value: float = 0.0) -> Array:
    """Convolves images with a kernel, the border filled with padding_value.

    y[b, p, q, o] = sum_{h, w, i} x[b, stride p + h - padding, stride q + w - padding, i] kernel[h, w, i, o]

    Args:
      x: [batch, h, w, i].
      kernel: [kh, kw, i, o], of x's dtype.
      stride: of both axes.
      padding: rows and columns added on each side.
      padding_value: what they hold.  0 injects zeros between the signs of a binary activation map, as the
        published networks do; +1 or -1 keeps the map binary.

    Returns:
      [batch, (h + 2 padding - kh) // stride + 1, likewise, o].
    """
    if padding_value:
        border = (padding, padding)
        x = jnp.pad(x, ((0, 0), border, border, (0, 0)), constant_values=padding_value)
        padding = 0
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), [(padding, padding)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
