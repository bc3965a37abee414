"""Max pooling whose gradient keeps the place of each maximum, one byte per output, instead of the input.

XLA's CPU backend turns the gradient of its own pooling into a scatter, with four integer arrays of the
input's size.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.ops.floats import floats
from bnnjax.ops.outline import outlined


def max_pool(x: Array, size: int, stride: int, padding: int = 0) -> Array:
    """Returns the largest value of each window, NaN where the window has one; the padding is -infinity.

    y[b, p, q, c] = max_{h, w < size} x[b, stride p + h - padding, stride q + w - padding, c]

    The gradient goes to the first of equal values, row by row.

    Args:
      x: [batch, h, w, c], any float dtype.
      size: rows and columns of a window, at most 16.
      stride: of both axes.
      padding: rows and columns added on each side, less than size.

    Returns:
      [batch, (h + 2 padding - size) // stride + 1, likewise, c].
    """
    x = floats(x)
    return _pool(x, x.shape, size, stride, padding)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _pool(x: Array, shape: tuple[int, ...], size: int, stride: int, padding: int) -> Array:
    window, strides, border = (1, size, size, 1), (1, stride, stride, 1), (padding, padding)
    edges = ((0, 0), border, border, (0, 0))
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, strides, edges)


# What the forward rule of `_pool` calls.  It has the same gradient: where a gradient is differentiated again,
# autodiff of `_largest_and_place` would divide it among equal values.
@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _pool_and_place(
    x: Array, shape: tuple[int, ...], size: int, stride: int, padding: int
) -> tuple[Array, Array]:
    return _outlined_largest_and_place(x, size, stride, padding)


def _forward(x: Array, *constants: Any) -> tuple[Array, Array]:
    return _pool_and_place(x, *constants)


def _backward(
    shape: tuple[int, ...], size: int, stride: int, padding: int, place: Array, g: Array
) -> tuple[Array]:
    return (_outlined_give_back(g, place, shape, size, stride, padding),)


def _forward_and_place(x: Array, *constants: Any) -> tuple[tuple[Array, Array], Array]:
    y, place = _pool_and_place(x, *constants)
    return (y, place), place


def _backward_and_place(
    shape: tuple[int, ...], size: int, stride: int, padding: int, place: Array, g: tuple[Array, Any]
) -> tuple[Array]:
    return _backward(shape, size, stride, padding, place, g[0])


_pool.defvjp(_forward, _backward)
_pool_and_place.defvjp(_forward_and_place, _backward_and_place)


def _largest_and_place(x: Array, size: int, stride: int, padding: int) -> tuple[Array, Array]:
    """Returns the largest values and, uint8, the first place in the window that has each of them."""
    border = (padding, padding)
    x = jnp.pad(x, ((0, 0), border, border, (0, 0)), constant_values=-jnp.inf)
    rows, columns = (n - size + 1 for n in x.shape[1:3])
    largest, *others = (
        x[:, h : h + rows : stride, w : w + columns : stride] for h in range(size) for w in range(size)
    )
    place = jnp.zeros(largest.shape, jnp.uint8)
    for n, value in enumerate(others, 1):
        place = jnp.where(largest >= value, place, jnp.uint8(n))
        largest = jnp.maximum(largest, value)
    return largest, place


def _give_back(g: Array, place: Array, shape: tuple[int, ...], size: int, stride: int, padding: int) -> Array:
    """Returns the gradient by the input: that of each output goes to the place its value came from."""
    zero = jnp.zeros((), jnp.float32)
    total = jnp.zeros(shape, jnp.float32)
    for n in range(size * size):
        firsts = (n // size - padding, n % size - padding)
        axes = zip(firsts, shape[1:3], g.shape[1:3], strict=True)
        gaps = [(first, i - first - (stride * (o - 1) + 1), stride - 1) for first, i, o in axes]
        total += jax.lax.pad(
            jnp.where(place == n, g, 0).astype(zero.dtype), zero, [(0, 0, 0), *gaps, (0, 0, 0)]
        )
    return total.astype(g.dtype)


_outlined_largest_and_place = outlined(_largest_and_place, (1, 2, 3))
_outlined_give_back = outlined(_give_back, (2, 3, 4, 5))
