"""JPEG compression and decompression, without the lossless entropy coding in between.

As libjpeg-turbo's defaults, in integers throughout: YCbCr (JFIF), chroma at half the resolution, 8x8 cosine
transforms (Loeffler, Ligtenberg and Moschytz 1989, "islow"), the tables of the standard's annex K, and chroma
interpolated on decompression.
"""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

LUMA_TABLE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
CHROMA_TABLE = np.full((8, 8), 99)
CHROMA_TABLE[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]

TRANSFORM_BITS, PASS_BITS = 13, 2  # of the transform's constants, and kept between its two passes


def transform_matrix() -> np.ndarray:
    """Returns the integer cosine transform of 8 numbers, int32 [8, 8], 2^13 sqrt(8) times the orthogonal one.

    Each cosine is the sum of the rounded constants that the fast algorithm adds up, so the product is the
    same to the last bit.  Its transpose is the inverse transform.
    """
    x = np.eye(8, dtype=np.int32)
    sums, differences = x[:4] + x[:3:-1], x[:4] - x[:3:-1]
    outer, inner = sums[0] + sums[3], sums[1] + sums[2]
    far, near = sums[0] - sums[3], sums[1] - sums[2]
    d7, d6, d5, d4 = differences
    z5 = 9633 * (d4 + d6 + d5 + d7)
    z1, z2 = -7373 * (d4 + d7), -20995 * (d5 + d6)
    z3, z4 = z5 - 16069 * (d4 + d6), z5 - 3196 * (d5 + d7)
    return np.stack(
        [
            (outer + inner) << TRANSFORM_BITS,
            12299 * d7 + z1 + z4,
            4433 * (near + far) + 6270 * far,
            25172 * d6 + z2 + z3,
            (outer - inner) << TRANSFORM_BITS,
            16819 * d5 + z2 + z4,
            4433 * (near + far) - 15137 * near,
            2446 * d4 + z1 + z3,
        ]
    )


def quantization_table(table: np.ndarray, quality: int) -> np.ndarray:
    """Returns a table of the standard scaled to a quality from 1 to 100, by libjpeg's rule."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((table * percent + 50) // 100, 1, 255)


def _shifted(numbers: Array, bits: int) -> Array:
    return (numbers + (1 << (bits - 1))) >> bits


def coded(plane: Array, table: np.ndarray) -> Array:
    """Returns a plane, int32 [h, w] from 0 to 255, h and w multiples of 8, after compression."""
    height, width = plane.shape
    matrix = jnp.asarray(transform_matrix())
    # Coefficients are 8 times those of the orthogonal transform.
    steps = jnp.asarray(8 * table, jnp.int32)[None, :, None, :]
    blocks = plane.reshape(height // 8, 8, width // 8, 8) - 128
    along_rows = _shifted(jnp.einsum("vy,ixjy->ixjv", matrix, blocks), TRANSFORM_BITS - PASS_BITS)
    coefficients = _shifted(jnp.einsum("ux,ixjv->iujv", matrix, along_rows), TRANSFORM_BITS + PASS_BITS)
    levels = jnp.sign(coefficients) * ((jnp.abs(coefficients) + steps // 2) // steps)
    columns = _shifted(jnp.einsum("ux,iujv->ixjv", matrix, levels * (steps // 8)), TRANSFORM_BITS - PASS_BITS)
    pixels = _shifted(jnp.einsum("vy,ixjv->ixjy", matrix, columns), TRANSFORM_BITS + PASS_BITS + 3)
    return jnp.clip(pixels.reshape(plane.shape) + 128, 0, 255)


def halved(plane: Array) -> Array:
    """Returns the means of 2x2 pixels, rounded down and up alternately along a row."""
    height, width = plane.shape
    sums = plane.reshape(height // 2, 2, width // 2, 2).sum((1, 3))
    return (sums + 1 + jnp.arange(width // 2)[None] % 2) >> 2


def doubled(plane: Array) -> Array:
    """Returns a plane of twice the resolution: 3/4 of the nearer pixel, 1/4 of the farther, each way."""

    def both(array: Array, axis: int) -> tuple[Array, Array]:
        widths = [(1, 1) if n == axis else (0, 0) for n in range(2)]
        padded, size = jnp.pad(array, widths, mode="edge"), array.shape[axis]
        before, after = (jax.lax.slice_in_dim(padded, n, n + size, axis=axis) for n in (0, 2))
        return 3 * array + before, 3 * array + after

    rows = jnp.stack(both(plane, 0), axis=1).reshape(-1, plane.shape[1])
    left, right = both(rows, 1)
    return jnp.stack([(left + 8) >> 4, (right + 7) >> 4], axis=2).reshape(len(rows), -1)


def _padded(plane: Array, rows: int, columns: int) -> Array:
    """Returns the plane padded by its edges to multiples of these."""
    widths = [(0, -size % multiple) for size, multiple in zip(plane.shape, (rows, columns), strict=True)]
    return jnp.pad(plane, widths, mode="edge")


def _weighed(planes: Iterable[Array], weights: Iterable[float], rest: int = 1 << 15) -> Array:
    """Returns the sum of weight * plane, weights of 16 bits behind the point, rounded with `rest`."""
    total = sum((round(weight * 2**16) * plane for weight, plane in zip(weights, planes, strict=True)), rest)
    return jnp.asarray(total) >> 16


def jpeg_compression(key: Array, image: Array, quality: int) -> Array:
    """Returns x after JPEG at a quality from 1 to 100, chroma 4:2:0, as Pillow writes and reads it.

    Args:
      key: not used.
      image: [h, w, 3], or [h, w, 1] for a grey image; rounded to whole levels.
      quality: of the tables.
    """
    height, width, channels = image.shape
    luma_table, chroma_table = (quantization_table(table, quality) for table in (LUMA_TABLE, CHROMA_TABLE))
    planes = jnp.moveaxis(jnp.round(image).astype(jnp.int32), 2, 0)
    if channels == 1:
        return coded(_padded(planes[0], 8, 8), luma_table)[:height, :width, None].astype(image.dtype)
    # Half a level less a bit is added to chroma, so that 255.5 stays 255.
    offset = (128 << 16) + (1 << 15) - 1
    luma = _weighed(planes, (0.299, 0.587, 0.114))
    blueness = _weighed(planes, (-0.168735892, -0.331264108, 0.5), offset)
    redness = _weighed(planes, (0.5, -0.418687589, -0.081312411), offset)
    luma = coded(_padded(luma, 8, 8), luma_table)[:height, :width]
    small = -(-height // 2), -(-width // 2)
    blue, red = (
        # Rows are padded after halving, columns before.
        coded(_padded(halved(_padded(plane, 2, 16)), 8, 8), chroma_table)
        for plane in (blueness, redness)
    )
    blue, red = (doubled(plane[: small[0], : small[1]])[:height, :width] - 128 for plane in (blue, red))
    decoded = [
        luma + _weighed([red], [1.402]),
        luma + _weighed([blue, red], [-0.344136286, -0.714136286]),
        luma + _weighed([blue], [1.772]),
    ]
    return jnp.clip(jnp.stack(decoded, axis=2), 0, 255).astype(image.dtype)
