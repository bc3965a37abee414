"""Convolution of NHWC images with HWIO kernels, with gradients that are fast on CPUs too."""

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.native import library
from bnnjax.ops.conv_codes import conv_codes
from bnnjax.ops.conv_cpu import LAYOUT, conv_on_cpu
from bnnjax.ops.floats import floats


def conv(
    x: Array,
    kernel: Array,
    *,
    stride: int = 1,
    padding: int = 0,
    padding_value: float = 0.0,
    scale: Array | None = None,
    signs: bool = False,
    signs_of: Array | None = None,
) -> Array:
    """Convolves images with a kernel, the border filled with padding_value, and scales the outputs.

    y[b, p, q, o] = scale[o] sum_{h, w, i} x[b, r, s, i] kernel[h, w, i, o]

    with r = stride p + h - padding and s = stride q + w - padding.  With g = scale dL/dy its gradients are

    dL/dx[b, r, s, i] = sum of g[b, p, q, o] kernel[h, w, i, o] over o and all p, q, h, w that give r, s
    dL/dkernel[h, w, i, o] = sum_{b, p, q} g[b, p, q, o] x[b, r, s, i]

    Args:
      x: [batch, h, w, i].
      kernel: [kh, kw, i, o], of x's dtype.
      stride: of both axes.
      padding: rows and columns added on each side.
      padding_value: value of the padding.  0 puts zeros between the signs of a binary activation map, as the
        published networks do; +1 or -1 keeps the map binary.
      scale: [] or [o]; None is 1.
      signs: whether x, its border apart, and the kernel hold +-1 alone, which is faster on CPUs; the outputs
        are the same.  Where x or kernel does not, all of y may be NaN.
      signs_of: where signs is given, the array whose signs x is, if there is one; faster still.

    Returns:
      [batch, (h + 2 padding - kh) // stride + 1, likewise, o].
    """
    x, kernel = floats(x), floats(kernel)
    if padding_value:
        border = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        x = jnp.pad(x, border, constant_values=padding_value)
        signs_of = None if signs_of is None else jnp.pad(signs_of, border, constant_values=padding_value)
        padding = 0
        signs = signs and abs(padding_value) == 1
    if signs and library.convolves(x, kernel):
        each = jnp.broadcast_to(1.0 if scale is None else scale, kernel.shape[-1:]).astype(x.dtype)
        return conv_codes(x, kernel, each, signs_of, stride, padding)
    if jax.default_backend() == "cpu":
        y = conv_on_cpu(x, kernel, stride, padding)
    else:  # fast with autodiff's gradients
        y = jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), [(padding, padding)] * 2, dimension_numbers=LAYOUT
        )
    return y if scale is None else y * scale.astype(y.dtype)


def patches(
    x: Array, kernel_size: int, *, stride: int = 1, padding: int = 0, padding_value: float = 0.0, most: int
) -> Array:
    """Returns patches of the images (im2col): patches @ kernel.reshape(-1, o) is the convolution.

    Args:
      x: [batch, h, w, i].
      kernel_size: rows and columns of the kernel.
      stride: see `conv`, as for padding and padding_value.
      most: if there are more places than this, so many random ones are taken, the same for equal shapes.

    Returns:
      [places, kernel_size * kernel_size * i], in the order of batch, row and column.
    """
    border = (padding, padding)
    x = jnp.pad(floats(x), ((0, 0), border, border, (0, 0)), constant_values=padding_value)
    rows, columns = ((size - kernel_size) // stride + 1 for size in x.shape[1:3])
    places = jnp.arange(len(x) * rows * columns)
    if len(places) > most:
        places = jnp.sort(jax.random.choice(jax.random.key(0), places, (most,), replace=False))
    indices = jnp.unravel_index(places, (len(x), rows, columns))
    image, row, column = (index[:, None, None] for index in indices)
    window = jnp.arange(kernel_size)
    found = x[image, stride * row + window[:, None], stride * column + window]
    return found.reshape(len(places), -1)
