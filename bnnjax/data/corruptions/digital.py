"""Digital corruptions: contrast, brightness, saturation, pixelation and elastic transforms.

Images are [h, w, c] float32 from 0 to 255.  Functions take a key, the image and the values of a severity.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bnnjax.data.corruptions.filters import (
    along_rows_and_columns,
    box_matrix,
    filtered,
    gaussian_matrix,
    sample,
)
from bnnjax.data.corruptions.noise import GREY


def contrast(key: Array, image: Array, factor: float) -> Array:
    """Returns m + factor (x - m), m the mean of each channel of the image."""
    mean = jnp.mean(image, axis=(0, 1), keepdims=True)
    return mean + factor * (image - mean)


def brightness(key: Array, image: Array, lift: float) -> Array:
    """Returns x with its HSV value raised, clipped at the brightest; hue and saturation stay.

    The value is the largest channel: all are multiplied by v' / v.  Black becomes grey.
    """
    value = jnp.max(image, axis=2, keepdims=True)
    lifted = jnp.clip(value + GREY * lift, 0, GREY)
    return jnp.where(value > 0, image * (lifted / jnp.where(value > 0, value, 1)), lifted)


def saturate(key: Array, image: Array, factor: float, shift: float) -> Array:
    """Returns x with its HSV saturation s changed to factor s + shift, clipped to 0 to 1; hue and value stay.

    The distance of a channel from the largest is multiplied by s' / s.  Grey has the hue 0, red, as in
    scikit-image, so that a shift makes it reddish, as in the published images.  An image of one channel has
    no colour and stays.
    """
    if image.shape[2] == 1:
        return image
    value = jnp.max(image, axis=2, keepdims=True)
    distance = value - image
    saturation = jnp.max(distance, axis=2, keepdims=True) / jnp.where(value > 0, value, 1)
    wanted = jnp.clip(factor * saturation + shift, 0, 1)
    red = value * (1 - wanted * jnp.array([[[0.0, 1.0, 1.0]]]))
    ratio = wanted / jnp.where(saturation > 0, saturation, 1)
    return jnp.where(saturation > 0, value - distance * ratio, red)


def pixelate(key: Array, image: Array, factor: float) -> Array:
    """Returns x scaled down by the factor and up again with Pillow's BOX filter.

    Each direction, columns first, is rounded to whole levels, as Pillow does.
    """
    height, width, _ = image.shape
    rows, columns = np.eye(height), np.eye(width)
    small = int(height * factor), int(width * factor)
    for along_rows, along_columns in (
        (rows, box_matrix(width, small[1])),
        (box_matrix(height, small[0]), np.eye(small[1])),
        (np.eye(small[0]), box_matrix(small[1], width)),
        (box_matrix(small[0], height), columns),
    ):
        # Halves go up; a sum of equal shares must not fall short of one.
        image = jnp.floor(along_rows_and_columns(image, along_rows, along_columns) + 0.5 + 1e-3)
    return image


def pixel_places(height: int, width: int) -> tuple[Array, Array]:
    """Returns the row and the column of each pixel, float32 [h, w]."""
    sides = (jnp.arange(size, dtype=jnp.float32) for size in (height, width))
    rows, columns = jnp.meshgrid(*sides, indexing="ij")
    return rows, columns


def affine(image: Array, shifts: Array) -> Array:
    """Returns the image [h, w, c] under the affine map that moves three points around its middle.

    The points (x, y), a third of the shorter side away from it, are (m0 + s, m1 + s), (m0 + s, m1 - s) and
    (m0 - s, m1 - s) with m = (h // 2, w // 2); `shifts` [3, 2] is added.  Edges are mirrored.
    """
    height, width, _ = image.shape
    middle = jnp.array([[height // 2, width // 2]], jnp.float32)
    third = min(height, width) // 3
    before = middle + third * jnp.array([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    after = before + shifts
    # Where each pixel comes from; solved by hand, so that it is the same on any device.
    edges = after[:2] - after[2:]
    determinant = edges[0, 0] * edges[1, 1] - edges[0, 1] * edges[1, 0]
    inverse = jnp.array([[edges[1, 1], -edges[0, 1]], [-edges[1, 0], edges[0, 0]]]) / determinant
    linear = jnp.einsum("ij,jk->ik", inverse, before[:2] - before[2:], precision=jax.lax.Precision.HIGHEST)
    rows, columns = pixel_places(height, width)
    x, y = columns - after[2, 0], rows - after[2, 1]
    source = [before[2, n] + x * linear[0, n] + y * linear[1, n] for n in (0, 1)]
    return sample(image, source[1], source[0], "reflect")


def displaced(image: Array, uniform: Array, deviation: float, strength: float) -> Array:
    """Returns the image with each pixel taken from a nearby place, by smooth random shifts.

    Args:
      image: [h, w, c].
      uniform: (columns, rows) from -1 to 1, [2, h, w]; smoothed by a Gaussian, cut off at 3, and multiplied.
      deviation: of the Gaussian, in pixels.
      strength: factor, in pixels.
    """
    matrix = partial(gaussian_matrix, deviation=deviation, border="symmetric", truncate=3.0)
    right, down = jnp.moveaxis(strength * filtered(jnp.moveaxis(uniform, 0, 2), matrix), 2, 0)
    rows, columns = pixel_places(*image.shape[:2])
    return sample(image, rows + down, columns + right, "symmetric")


def elastic_transform(key: Array, image: Array, strength: float, deviation: float, shift: float) -> Array:
    """Returns x under a random affine map, then displaced smoothly; see `affine` and `displaced`.

    The values are fractions of the shorter side; the scripts have pixels, for sides of 32 and 244 (a slip,
    says the script for 224).  OpenCV interpolates in steps of 1/32 pixel; here interpolation is exact.
    """
    affine_key, shift_key = jax.random.split(key)
    side = min(image.shape[:2])
    image = affine(image, shift * side * jax.random.uniform(affine_key, (3, 2), minval=-1.0))
    if not strength:
        return image
    uniform = jax.random.uniform(shift_key, (2, *image.shape[:2]), minval=-1.0)
    return displaced(image, uniform, deviation * side, strength * side)
