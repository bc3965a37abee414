"""Retention matrices of neighbouring layers' activations, and their largest singular values.

All are float32, one matrix per image; at a matrix of zeros gradients are 0, not NaN.
"""

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.ops.floats import floats


def _averages(size: int, smaller: int) -> Array:
    """Returns the matrix [smaller, size] that averages over `smaller` windows, which cover all entries."""
    begin = jnp.arange(smaller)[:, None] * size // smaller
    end = -(-(jnp.arange(smaller)[:, None] + 1) * size // smaller)
    place = jnp.arange(size)
    inside = (begin <= place) & (place < end)
    return inside / jnp.sum(inside, axis=1, keepdims=True)


def average_to(x: Array, rows: int, columns: int) -> Array:
    """Returns images averaged to another size (adaptive average pooling).

    Row p is the mean of the rows q with floor(p h / rows) <= q < ceil((p + 1) h / rows); columns likewise.

    Args:
      x: [batch, h, w, c] float32.
      rows: of the result.
      columns: of the result.
    """
    x = floats(x)
    if x.shape[1:3] == (rows, columns):
        return x
    vertical, horizontal = _averages(x.shape[1], rows), _averages(x.shape[2], columns)
    return jnp.einsum("ph,bhwc,qw->bpqc", vertical, x, horizontal)


def retention_matrix(x: Array, y: Array) -> Array:
    """Returns X Y^T / (H W) of each image, [batch, i, o] float32.

    Args:
      x: [batch, h, w, i]; averaged to y's size first.
      y: [batch, H, W, o].
    """
    rows, columns = y.shape[1:3]
    x = average_to(floats(x).astype(jnp.float32), rows, columns)
    return jnp.einsum("bhwi,bhwo->bio", x, floats(y).astype(jnp.float32)) / (rows * columns)


def _length(v: Array) -> Array:
    """Returns ||v||_2 over the last axis, without under- or overflow of the squares."""
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(v), axis=-1))
    scale = jnp.where(largest > 0, largest, 1)
    squares = jnp.sum((v / scale[..., None]) ** 2, axis=-1)
    return jnp.where(largest > 0, scale * jnp.sqrt(jnp.where(largest > 0, squares, 1)), 0)


def _times(matrix: Array, v: Array) -> Array:
    return jnp.einsum("bio,bo->bi", matrix, v)


def _transposed_times(matrix: Array, v: Array) -> Array:
    return jnp.einsum("bio,bi->bo", matrix, v)


def one_step_norm(matrix: Array) -> Array:
    """Returns sqrt(||R R^T 1||_2) of each matrix R, [batch]: one power iteration from a vector of ones.

    The ones are not normalized, so that the result may exceed the largest singular value, by a factor of up
    to i^(1/4) for R with i rows.

    Args:
      matrix: [batch, i, o] float32.
    """
    matrix = floats(matrix).astype(jnp.float32)
    ones = jnp.ones(matrix.shape[:2], jnp.float32)
    length = _length(_times(matrix, _transposed_times(matrix, ones)))
    return jnp.where(length > 0, jnp.sqrt(jnp.where(length > 0, length, 1)), 0)


def largest_singular_value(matrix: Array, iterations: int) -> Array:
    """Returns the largest singular value of each matrix, [batch], by power iterations.

    The iterations start from one fixed normal vector: a vector of ones would be orthogonal to the singular
    vector where the entries of each column cancel, as those of codes do.  The result is ||R^T v|| for the
    unit vector v at the end, a constant to the gradient: for the singular vector the derivative is exact.

    Args:
      matrix: [batch, i, o] float32.
      iterations: of v := R R^T v / ||R R^T v||.
    """
    matrix = floats(matrix).astype(jnp.float32)
    # Not `norms.power_iteration`, which carries its vector from call to call and takes half a step less.
    fixed = jax.lax.stop_gradient(matrix)
    v = jnp.broadcast_to(
        jax.random.normal(jax.random.key(0), matrix.shape[1:2], jnp.float32), matrix.shape[:2]
    )
    v = v / _length(v)[..., None]
    for _ in range(iterations):
        v = _times(fixed, _transposed_times(fixed, v))
        length = _length(v)[..., None]
        v = v / jnp.where(length > 0, length, 1)
    return _length(_transposed_times(matrix, v))
