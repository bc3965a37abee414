"""Averages of neighbouring pixels.  Their L1,inf norm is 1, so that bounds need not know of them."""

import jax.numpy as jnp
from jax import Array

from bnnjax.ops.floats import floats


def block_means(x: Array, size: int) -> Array:
    """Returns the mean of each block of size x size pixels; past the border the last pixel is repeated.

    White noise keeps 1 / size^2 of its variance, where every size-th pixel would keep all of it.

    Args:
      x: [batch, h, w, c], any float dtype.
      size: rows and columns of a block.

    Returns:
      [batch, ceil(h / size), ceil(w / size), c], the shape of x[:, ::size, ::size].
    """
    x = floats(x)
    missing = [-length % size for length in x.shape[1:3]]
    if any(missing):
        x = jnp.pad(x, ((0, 0), *((0, more) for more in missing), (0, 0)), mode="edge")
    batch, rows, columns, channels = x.shape
    return jnp.mean(x.reshape(batch, rows // size, size, columns // size, size, channels), axis=(2, 4))


def binomial_blur(x: Array) -> Array:
    """Returns x blurred by (1 2 1) / 4 along both axes; past the border the last pixel is repeated.

    White noise keeps (3 / 8)^2 of its variance.

    Args:
      x: [batch, h, w, c], any float dtype.
    """
    x = jnp.pad(floats(x), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    x = (x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:]) / 4
    return (x[:, :, :-2] + 2 * x[:, :, 1:-1] + x[:, :, 2:]) / 4
