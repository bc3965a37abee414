"""The spatter corruption: drops of water or splashes of mud on the lens."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bnnjax.data.corruptions.filters import correlate, filtered, gaussian_matrix
from bnnjax.data.corruptions.noise import GREY

WATER, MUD = (175.0, 238.0, 238.0), (63.0, 42.0, 20.0)  # grey levels of red, green and blue
FARTHEST = 20  # pixels; larger distances from an edge count as this
# Moves of the chamfer distance and their lengths, as OpenCV's for a mask of 5x5: whole numbers of 1 / UNIT.
MOVES = {(0, 1): 1.0, (1, 1): 1.4, (1, 2): 2.1969}
UNIT = 10_000
MEAN = np.full((3, 3), 1 / 9)
_CHESS = {
    (sign_r * r, sign_c * c): length
    for (a, b), length in MOVES.items()
    for r, c in ((a, b), (b, a))
    for sign_r in (1, -1)
    for sign_c in (1, -1)
}


def _shifted(plane: Array, rows: int, columns: int, fill: float) -> Array:
    """Returns the plane [h, w] moved, so that entry (r, c) is what was at (r + rows, c + columns)."""
    reach = max(abs(rows), abs(columns))
    padded = jnp.pad(plane, reach, constant_values=fill)
    start = (reach + rows, reach + columns)
    return jax.lax.slice(padded, start, (start[0] + plane.shape[0], start[1] + plane.shape[1]))


def canny(plane: Array, low: float, high: float) -> Array:
    """Returns the edges in a plane [h, w], bool [h, w], by Canny's detector as OpenCV defines it.

    The L1 norm of Sobel's gradients, edges repeated, is kept where along the gradient, in one of four
    directions, it is larger than before and at least as large as behind; an edge is what exceeds `high`, or
    exceeds `low` and is connected to such a pixel.
    """
    padded = jnp.pad(plane, 1, mode="edge")[..., None]
    smooth, slope = np.array([1.0, 2.0, 1.0]), np.array([-1.0, 0.0, 1.0])
    dx, dy = (
        correlate(padded, kernel)[1:-1, 1:-1, 0]
        for kernel in (np.outer(smooth, slope), np.outer(slope, smooth))
    )
    size = jnp.abs(dx) + jnp.abs(dy)
    around = partial(_shifted, size, fill=0.0)
    flat = jnp.abs(dy) < jnp.tan(jnp.pi / 8) * jnp.abs(dx)
    steep = jnp.abs(dy) > jnp.tan(3 * jnp.pi / 8) * jnp.abs(dx)
    falling = dx * dy < 0
    is_ridge = jnp.where(
        flat,
        (size > around(0, -1)) & (size >= around(0, 1)),
        jnp.where(
            steep,
            (size > around(-1, 0)) & (size >= around(1, 0)),
            jnp.where(
                falling,
                (size > around(-1, 1)) & (size > around(1, -1)),
                (size > around(-1, -1)) & (size > around(1, 1)),
            ),
        ),
    )
    maybe, sure = is_ridge & (size > low), is_ridge & (size > high)

    def spread(edges: Array) -> Array:
        wide = jax.lax.reduce_window(edges, False, jax.lax.bitwise_or, (3, 3), (1, 1), "SAME")
        return wide & maybe

    def grows(both: tuple[Array, Array]) -> Array:
        return jnp.any(both[0] != both[1])

    return jax.lax.while_loop(grows, lambda both: (spread(both[0]), both[0]), (sure, jnp.zeros_like(sure)))[0]


def distance(edges: Array) -> Array:
    """Returns the chamfer distance to the nearest edge, at most FARTHEST, [h, w] of bool [h, w]."""

    def relax(_: Array, found: Array) -> Array:
        near = [_shifted(found, *move, fill=FARTHEST) + length for move, length in _CHESS.items()]
        return jnp.minimum(found, jnp.min(jnp.stack(near), axis=0))

    return jax.lax.fori_loop(0, FARTHEST, relax, jnp.where(edges, 0.0, float(FARTHEST)))


def whole_means(away: Array) -> Array:
    """Returns the means over 3x3 pixels of distances [h, w], truncated to whole pixels.

    Computed in integer multiples of 1 / UNIT: many means are just below an integer, such as 0.9997, so that a
    tolerance for rounding would raise them to it.
    """
    total = correlate(jnp.round(away * UNIT)[..., None], np.ones((3, 3)))[..., 0]
    return (total.astype(jnp.int32) // (9 * UNIT)).astype(jnp.float32)


def equalized(plane: Array) -> Array:
    """Returns a plane of whole levels [h, w] with its histogram equalized, as by OpenCV's equalizeHist."""
    levels = plane.astype(jnp.int32)
    counts = jnp.zeros(256, jnp.int32).at[levels.reshape(-1)].add(1)
    first = jnp.argmax(counts > 0)
    above = jnp.cumsum(counts) - counts[first]
    rest = levels.size - counts[first]
    factor = GREY / jnp.maximum(rest, 1).astype(jnp.float32)
    spread = jnp.round(above.astype(jnp.float32) * factor)
    return jnp.where(rest > 0, jnp.clip(spread, 0, GREY)[levels], plane)


def relief(away: Array) -> Array:
    """Returns the highlights on the rims of drops, whole levels [h, w], from the distances to the rims."""
    emboss = np.array([[-2.0, -1.0, 0.0], [-1.0, 1.0, 1.0], [0.0, 1.0, 2.0]])
    lit = jnp.clip(correlate(equalized(away)[..., None], emboss), 0, GREY)
    return jnp.round(correlate(lit, MEAN)[..., 0])


def spatter(
    key: Array,
    image: Array,
    mean: float,
    deviation: float,
    smoothing: float,
    threshold: float,
    strength: float,
    is_mud: int,
) -> Array:
    """Returns x under water, x + m water, or mud, (1 - m) x + m mud, where smooth noise exceeds a threshold.

    Water: m is the noise times the relief of its rims (`relief`), its largest entry made `strength`.
    Mud: m is the region smoothed by a Gaussian of deviation `strength`, 0 where that is below 0.8.  The first
    channel gets 175 and 63, as in the scripts; a grey image gets the colours' means.  Noise above 1 is cut to
    1, where the script's levels overflow.

    Args:
      key: random.
      image: [h, w, c].
      mean: of the noise.
      deviation: of the noise.
      smoothing: deviation of the Gaussian that smooths it, in pixels.
      threshold: below it there is nothing.
      strength: see above.
      is_mud: 0 or 1.
    """
    noise = mean + deviation * jax.random.normal(key, (*image.shape[:2], 1))
    smooth = filtered(noise, partial(gaussian_matrix, deviation=smoothing))[..., 0]
    color = jnp.array([[MUD if is_mud else WATER]])
    color = color if image.shape[2] == 3 else jnp.mean(color, keepdims=True)
    if is_mud:
        region = (smooth > threshold).astype(jnp.float32)[..., None]
        covered = filtered(region, partial(gaussian_matrix, deviation=strength))
        covered = jnp.where(covered < 0.8, 0, covered)
        return (1 - covered) * image + covered * color
    liquid = jnp.where(smooth < threshold, 0, jnp.clip(jnp.floor(smooth * GREY), 0, GREY))
    light = liquid * relief(whole_means(distance(canny(liquid, 50, 150))))
    most = jnp.max(light)
    return image + (strength * light / jnp.where(most > 0, most, 1))[..., None] * color
