"""Image filters: linear filters and resizing as small matrices per axis, and interpolation."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

# Padding beyond the edge, as NumPy names it: edge repeats the last pixel, symmetric mirrors with the last
# pixel repeated, reflect without.
Border = Literal["edge", "symmetric", "reflect"]

_dot = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


def gaussian_taps(deviation: float, radius: int) -> np.ndarray:
    """Returns the weights exp(-d^2 / (2 deviation^2)), d from -radius to radius, divided by their sum."""
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    return taps / taps.sum()


def filter_matrix(size: int, taps: np.ndarray, border: Border) -> np.ndarray:
    """Returns the [size, size] matrix that correlates an axis with an odd number of taps."""
    radius = len(taps) // 2
    sources = np.pad(np.arange(size), radius, mode=border)
    matrix = np.zeros((size, size))
    for place, tap in enumerate(taps):
        np.add.at(matrix, (np.arange(size), sources[place : place + size]), tap)
    return matrix


def gaussian_matrix(
    size: int, deviation: float, border: Border = "edge", truncate: float = 4.0
) -> np.ndarray:
    """Returns the matrix of a Gaussian, deviation in pixels, cut off at `truncate` deviations."""
    radius = int(truncate * deviation + 0.5)
    return filter_matrix(size, gaussian_taps(deviation, radius), border) if radius else np.eye(size)


def zoom_matrix(size: int, zoom: float) -> np.ndarray:
    """Returns the [size, size] matrix that enlarges the middle of an axis.

    ceil(size / zoom) pixels are interpolated linearly to zoom times as many, with first and last pixels
    aligned, and the middle `size` of these are kept.
    """
    kept = int(np.ceil(size / zoom))
    first = (size - kept) // 2
    enlarged = round(kept * zoom)
    places = np.arange(enlarged) * ((kept - 1) / max(enlarged - 1, 1))
    below = np.minimum(places.astype(int), max(kept - 2, 0))
    matrix = np.zeros((enlarged, size))
    rows = np.arange(enlarged)
    np.add.at(matrix, (rows, first + below), 1 - (places - below))
    np.add.at(matrix, (rows, first + np.minimum(below + 1, kept - 1)), places - below)
    trim = (enlarged - size) // 2
    return matrix[trim : trim + size]


def box_matrix(size: int, new_size: int) -> np.ndarray:
    """Returns the [new_size, size] matrix that takes means over boxes of pixels, as Pillow's BOX does."""
    ratio = size / new_size
    support = 0.5 * max(ratio, 1.0)
    matrix = np.zeros((new_size, size))
    for row in range(new_size):
        center = (row + 0.5) * ratio
        low, high = max(int(center - support + 0.5), 0), min(int(center + support + 0.5), size)
        distance = (np.arange(low, high) - center + 0.5) / max(ratio, 1.0)
        inside = (distance > -0.5) & (distance <= 0.5)
        matrix[row, low:high] = inside / inside.sum()
    return matrix


def along_rows_and_columns(image: Array, rows: np.ndarray, columns: np.ndarray) -> Array:
    """Returns rows @ image @ columns^T of each channel, [p, q, c] of [h, w, c], [p, h] and [q, w]."""
    half = _dot("ph,hwc->pwc", jnp.asarray(rows, jnp.float32), image)
    return _dot("qw,pwc->pqc", jnp.asarray(columns, jnp.float32), half)


def sum_of_products(image: Array, rows: np.ndarray, columns: np.ndarray) -> Array:
    """Returns sum_z rows_z @ image @ columns_z^T, [p, q, c] of [h, w, c], [z, p, h] and [z, q, w]."""
    half = _dot("zph,hwc->zpwc", jnp.asarray(rows, jnp.float32), image)
    return _dot("zqw,zpwc->pqc", jnp.asarray(columns, jnp.float32), half)


def filtered(image: Array, matrix: Callable[[int], np.ndarray]) -> Array:
    """Returns the image [h, w, c] with matrix(h) applied along its rows and matrix(w) along its columns."""
    return along_rows_and_columns(image, matrix(image.shape[0]), matrix(image.shape[1]))


def correlate(image: Array, kernel: np.ndarray, border: Border = "reflect") -> Array:
    """Returns the image [h, w, c], each channel correlated with a kernel of odd sides [r, s]."""
    rows, columns = (side // 2 for side in kernel.shape)
    padded = jnp.pad(image, ((rows, rows), (columns, columns), (0, 0)), mode=border)
    return jax.lax.conv_general_dilated(
        jnp.moveaxis(padded, 2, 0)[..., None],
        jnp.asarray(kernel, jnp.float32)[..., None, None],
        (1, 1),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=jax.lax.Precision.HIGHEST,
    )[..., 0].transpose(1, 2, 0)


def _folded(places: Array, size: int, border: Border) -> Array:
    if border == "edge":
        return jnp.clip(places, 0, size - 1)
    period = 2 * size if border == "symmetric" else max(2 * size - 2, 1)
    inside = jnp.mod(places, period)
    return jnp.where(inside < size, inside, period - inside - int(border == "symmetric"))


def sample(image: Array, rows: Array, columns: Array, border: Border) -> Array:
    """Returns the image [h, w, c] sampled between its pixels with linear interpolation, [p, q, c].

    Args:
      image: pixel centres have integer coordinates.
      rows: coordinates, [p, q]; may lie outside.
      columns: likewise.
      border: the padding outside.
    """
    row, column = jnp.floor(rows), jnp.floor(columns)
    down, right = (rows - row)[..., None], (columns - column)[..., None]
    above, below = (_folded(row.astype(int) + n, image.shape[0], border) for n in (0, 1))
    before, after = (_folded(column.astype(int) + n, image.shape[1], border) for n in (0, 1))
    top = image[above, before] * (1 - right) + image[above, after] * right
    bottom = image[below, before] * (1 - right) + image[below, after] * right
    return top * (1 - down) + bottom * down
