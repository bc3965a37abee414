"""Blur corruptions: Gaussian, defocus, glass, motion and zoom.

Images are [h, w, c] float32 from 0 to 255.  Functions take a key, the image and the values of a severity.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bnnjax.data.corruptions.filters import (
    correlate,
    filtered,
    gaussian_matrix,
    gaussian_taps,
    sum_of_products,
    zoom_matrix,
)


def gaussian_blur(key: Array, image: Array, deviation: float) -> Array:
    """Returns x convolved with a Gaussian, deviation in pixels, cut off at 4; edges are repeated."""
    return filtered(image, partial(gaussian_matrix, deviation=deviation))


def disk(radius: float, smoothing: float) -> np.ndarray:
    """Returns the kernel of a lens out of focus: a disk of sum 1, smoothed by a small Gaussian.

    The grid is 17 wide up to radius 8 and the Gaussian 3, then 2 radius + 1 and 5; edges are mirrored.
    Zeros all around are cut off.
    """
    reach, taps = (
        (8, gaussian_taps(smoothing, 1)) if radius <= 8 else (int(radius), gaussian_taps(smoothing, 2))
    )
    squares = np.arange(-reach, reach + 1) ** 2
    inside = (squares[:, None] + squares[None, :] <= radius**2).astype(np.float64)
    padded = np.pad(inside / inside.sum(), len(taps) // 2, mode="reflect")
    for axis in (0, 1):
        padded = np.apply_along_axis(np.convolve, axis, padded, taps, mode="valid")
    margin = int(np.min(np.nonzero(padded.any(axis=0))))
    return padded[margin : len(padded) - margin, margin : len(padded) - margin]


def defocus_blur(key: Array, image: Array, radius: float, smoothing: float) -> Array:
    """Returns x correlated with `disk(radius, smoothing)`; edges are mirrored."""
    return correlate(image, disk(radius, smoothing))


def glass_sources(offsets: Array, reach: int) -> Array:
    """Returns which pixel each pixel has after the published loop over an image, int32 [h * w].

    The loop runs from row h - reach and column w - reach down to reach + 1 and gives each pixel (r, q) in
    turn the value that (r + dy, q + dx) has by then.  (The script means to swap both; in NumPy the second
    assignment reads what the first has written, so only one of them changes.)  Where that pixel had its turn
    before, its own source counts: such chains are followed to their ends by doubling.

    Args:
      offsets: (dx, dy) of every pixel, int [h, w, 2], from -reach to reach - 1.
      reach: in pixels, at least 1.
    """
    height, width, _ = offsets.shape
    rows, columns = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    in_loop = (rows > reach) & (columns > reach) & (rows <= height - reach) & (columns <= width - reach)
    there = (
        jnp.where(in_loop, rows + offsets[..., 1], rows),
        jnp.where(in_loop, columns + offsets[..., 0], columns),
    )
    turn = rows * width + columns  # falls
    their_turn = (there[0] * width + there[1]).astype(jnp.int32)
    had_its_turn = in_loop[there] & (their_turn > turn)
    # Entries from h * w on are original pixels; they point to themselves.
    pixels = height * width
    follow = jnp.concatenate(
        [
            jnp.where(had_its_turn, their_turn, pixels + their_turn).reshape(-1),
            pixels + jnp.arange(pixels),
        ]
    ).astype(jnp.int32)
    for _ in range(int(np.ceil(np.log2(pixels))) + 1):
        follow = follow[follow]
    return follow[:pixels] - pixels


def glass_blur(key: Array, image: Array, deviation: float, reach: int, times: int) -> Array:
    """Returns x smoothed, its pixels displaced by up to `reach` in each of `times` rounds, smoothed again.

    After the first smoothing values are cut to whole levels, as published; see `glass_sources`.
    """
    smooth = partial(filtered, matrix=partial(gaussian_matrix, deviation=deviation))
    pixels = jnp.floor(smooth(image) + 1e-3).reshape(-1, image.shape[2])
    for own in jax.random.split(key, times):
        offsets = jax.random.randint(own, (*image.shape[:2], 2), -reach, reach)
        pixels = pixels[glass_sources(offsets, reach)]
    return smooth(pixels.reshape(image.shape))


def streak(image: Array, angle: Array, radius: int, deviation: float) -> Array:
    """Returns the image [h, w, c] smeared to one side: sum_i k_i x(q + o_i), edges repeated.

    k_i is a half Gaussian, i = 0 to 2 radius; o_i = ceil(i (cos, sin) - 1/2), in columns and rows, for the
    angle in degrees.  ImageMagick's definition (MotionBlurImage).
    """
    length = 2 * radius + 1
    kernel = np.exp(-0.5 * (np.arange(length) / deviation) ** 2)
    direction = jnp.deg2rad(angle)
    steps = jnp.arange(length, dtype=jnp.float32)
    # Rounding must not shift streaks at right angles by one pixel.
    offsets = [jnp.ceil(steps * jnp.round(f(direction), 6) - 0.5).astype(int) for f in (jnp.sin, jnp.cos)]
    padded = jnp.pad(image, ((length, length), (length, length), (0, 0)), mode="edge")

    def add(total: Array, part: tuple[Array, ...]) -> tuple[Array, None]:
        weight, down, right = part
        shifted = jax.lax.dynamic_slice(padded, (length + down, length + right, 0), image.shape)
        return total + weight * shifted, None

    weights = jnp.asarray(kernel / kernel.sum(), jnp.float32)
    return jax.lax.scan(add, jnp.zeros_like(image), (weights, offsets[0], offsets[1]))[0]


def motion_blur(key: Array, image: Array, radius: int, deviation: float) -> Array:
    """Returns x smeared at an angle between -45 and 45 degrees, in whole levels; see `streak`."""
    angle = jax.random.uniform(key, minval=-45.0, maxval=45.0)
    return jnp.round(streak(image, angle, radius, deviation))


def zoom_blur(key: Array, image: Array, largest: float, step: float) -> Array:
    """Returns the mean of x and its enlargements by 1, 1 + step, ... below `largest`; see `zoom_matrix`."""
    zooms = np.arange(1, largest, step)
    rows, columns = (np.stack([zoom_matrix(size, zoom) for zoom in zooms]) for size in image.shape[:2])
    return (image + sum_of_products(image, rows, columns)) / (len(zooms) + 1)
