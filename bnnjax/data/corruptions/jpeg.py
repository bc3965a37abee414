"""JPEG there and back: the arithmetic of the codec, without the lossless coding in between.

As libjpeg-turbo does it by default: YCbCr (JFIF), chroma of half the resolution, 8x8 cosine transforms, the
tables of the standard's annex K, everything rounded to whole numbers, chroma interpolated when it is read.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

LUMA_TABLE = np.array(
    """
    16 11 10 16  24  40  51  61   12 12 14 19  26  58  60  55   14 13 16 24  40  57  69  56
    14 17 22 29  51  87  80  62   18 22 37 56  68 109 103  77   24 35 55 64  81 104 113  92
    49 64 78 87 103 121 120 101   72 92 95 98 112 100 103  99
    """.split(),
    int,
).reshape(8, 8)
CHROMA_TABLE = np.full((8, 8), 99)
CHROMA_TABLE[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]

_waves = np.cos(np.pi / 8 * np.arange(8)[:, None] * (np.arange(8) + 0.5))
COSINES = _waves / np.linalg.norm(_waves, axis=1, keepdims=True)


def quantization_table(table: np.ndarray, quality: int) -> np.ndarray:
    """Returns a table of the standard for a quality from 1 to 100, by libjpeg's rule."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((table * percent + 50) // 100, 1, 255)


def _blocks(plane: Array) -> Array:
    height, width = plane.shape
    return plane.reshape(height // 8, 8, width // 8, 8)


def coded(plane: Array, table: np.ndarray) -> Array:
    """Returns a plane [h, w], multiples of 8, whole numbers from 0 to 255, after it was coded and decoded."""
    cosines, steps = jnp.asarray(COSINES, jnp.float32), jnp.asarray(table, jnp.float32)[:, None, :]

    def transform(blocks: Array, matrix: Array) -> Array:
        return jnp.einsum("ux,ixjy,vy->iujv", matrix, blocks, matrix, precision=jax.lax.Precision.HIGHEST)

    coefficients = transform(_blocks(plane - 128), cosines)
    levels = jnp.trunc(coefficients / steps + jnp.where(coefficients < 0, -0.5, 0.5))
    return jnp.clip(jnp.floor(transform(levels * steps, cosines.T) + 128.5), 0, 255).reshape(plane.shape)


def halved(plane: Array) -> Array:
    """Returns the means of 2x2 pixels; sums are rounded up and down in turn along a row."""
    height, width = plane.shape
    sums = plane.reshape(height // 2, 2, width // 2, 2).sum((1, 3))
    return jnp.floor((sums + 1 + jnp.arange(width // 2) % 2) / 4)


def doubled(plane: Array) -> Array:
    """Returns a plane of twice the resolution: 3/4 of the nearer pixel and 1/4 of the farther in each direction."""

    def both(array: Array, axis: int) -> tuple[Array, Array]:
        widths = [(1, 1) if n == axis else (0, 0) for n in range(2)]
        padded, size = jnp.pad(array, widths, mode="edge"), array.shape[axis]
        before, after = (jax.lax.slice_in_dim(padded, n, n + size, axis=axis) for n in (0, 2))
        return 3 * array + before, 3 * array + after

    rows = jnp.stack(both(plane, 0), axis=1).reshape(-1, plane.shape[1])
    left, right = both(rows, 1)
    return jnp.stack([jnp.floor((left + 8) / 16), jnp.floor((right + 7) / 16)], axis=2).reshape(len(rows), -1)


def _padded(plane: Array, multiple: int) -> Array:
    return jnp.pad(plane, [(0, -size % multiple) for size in plane.shape], mode="edge")


def jpeg_compression(key: Array, image: Array, quality: int) -> Array:
    """Returns x after JPEG at a quality from 1 to 100, chroma 4:2:0, as Pillow writes and reads it.

    Cosine transforms are exact here and of whole numbers in libjpeg, so that a few pixels differ, by a level
    or two, or, where a coefficient lies on a rounding boundary, by its step.

    Args:
      key: not used.
      image: [h, w, 3], or [h, w, 1] for a grey image.
      quality: published are those of `corruptions.PARAMETERS`.
    """
    height, width, channels = image.shape
    luma_table, chroma_table = (quantization_table(table, quality) for table in (LUMA_TABLE, CHROMA_TABLE))
    whole = jnp.round(image)
    if channels == 1:
        return coded(_padded(whole[..., 0], 8), luma_table)[:height, :width, None]
    red, green, blue = jnp.moveaxis(whole, 2, 0)
    luma = jnp.round(0.299 * red + 0.587 * green + 0.114 * blue)
    # As in libjpeg, half a level less than one of rounding, so that 255.5 stays 255.
    chroma = [
        jnp.floor(-0.168735892 * red - 0.331264108 * green + 0.5 * blue + 128.4999),
        jnp.floor(0.5 * red - 0.418687589 * green - 0.081312411 * blue + 128.4999),
    ]
    luma = coded(_padded(luma, 16), luma_table)[:height, :width]
    small = -(-height // 2), -(-width // 2)
    blue_off, red_off = (
        doubled(coded(halved(_padded(plane, 16)), chroma_table)[: small[0], : small[1]])[:height, :width]
        - 128
        for plane in chroma
    )
    decoded = [
        luma + jnp.round(1.402 * red_off),
        luma + jnp.round(-0.344136286 * blue_off - 0.714136286 * red_off),
        luma + jnp.round(1.772 * blue_off),
    ]
    return jnp.clip(jnp.stack(decoded, axis=2), 0, 255)
