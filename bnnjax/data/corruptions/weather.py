"""Weather corruptions: fog, frost and snow.

Images are [h, w, c] float32 from 0 to 255.  Functions take a key, the image and the values of a severity.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bnnjax.data.corruptions.blur import streak
from bnnjax.data.corruptions.filters import filtered, zoom_matrix
from bnnjax.data.corruptions.noise import GREY


def plasma(key: Array, size: int, decay: float) -> Array:
    """Returns a plasma cloud, [size, size] from 0 to 1, by the diamond-square algorithm on a torus.

    Each new point is the mean of its four neighbours and a uniform number within +-a^2, where a is 100 at
    first and divided by `decay` at each halving of the step.  `size` is a power of two.
    """
    cloud = jnp.zeros((size, size))
    step, wobble = size, 100.0
    while step >= 2:
        half = step // 2
        *own, key = jax.random.split(key, 4)
        cells = (size // step, size // step)
        # Drawn by one program: compiling random number generators takes most of the compilation time.
        draw = jax.vmap(partial(jax.random.uniform, shape=cells, minval=-1.0))
        wobbles = wobble**2 * draw(jnp.stack(own))
        corners = cloud[::step, ::step]
        columns = corners + jnp.roll(corners, -1, axis=0)
        centers = (columns + jnp.roll(columns, -1, axis=1)) / 4 + wobbles[0]
        around = centers + jnp.roll(centers, 1, axis=0)
        tops = (around + corners + jnp.roll(corners, -1, axis=1)) / 4 + wobbles[1]
        around = centers + jnp.roll(centers, 1, axis=1)
        sides = (around + corners + jnp.roll(corners, -1, axis=0)) / 4 + wobbles[2]
        quads = jnp.stack([jnp.stack([corners, tops], -1), jnp.stack([sides, centers], -1)], 1)
        small = quads.reshape(2 * cells[0], 2 * cells[1])
        cloud = cloud.at[::half, ::half].set(small)
        step, wobble = half, wobble / decay
    cloud = cloud - jnp.min(cloud)
    return cloud / jnp.max(cloud)


def fog(key: Array, image: Array, thickness: float, decay: float) -> Array:
    """Returns (x + thickness cloud) m / (m + thickness), x from 0 to 1, m its largest entry; see `plasma`.

    The cloud's size is the smallest power of two that covers the image, as published for 32 and 224 pixels.
    """
    size = 1 << (max(image.shape[:2]) - 1).bit_length()
    cloud = plasma(key, size, decay)[: image.shape[0], : image.shape[1], None]
    most = jnp.max(image) / GREY
    return (image + GREY * thickness * cloud) * most / (most + thickness)


class Photograph(NamedTuple):
    """Statistics of a photograph of ice: its mean colour and the deviations of two layers of texture.

    Each has an entry for red, green and blue, which vary together within a layer.
    """

    mean: tuple[float, float, float]
    clouds: tuple[float, float, float]  # of correlation exp(-r / CLOUD) at a distance of r pixels
    crystals: tuple[float, float, float]  # of correlation exp(-(r / size)^power)
    size: float
    power: float


# The five photographs of the published scripts, of which the second and third are the same.  Fitted to the
# variograms at 1 to 128 pixels, in crops of 224 pixels and, scaled to a fifth, of 32.
_WHITE = Photograph((198, 202, 212), (12.2, 13.3, 14.3), (15.4, 15.4, 15.6), 2.5, 1.1)
PHOTOGRAPHS = (
    Photograph((76, 148, 164), (22.3, 13.7, 13.2), (14.1, 8.4, 7.8), 1.1, 2.0),
    _WHITE,
    _WHITE,
    Photograph((144, 159, 171), (14.2, 14.2, 15.6), (23.1, 23.2, 23.7), 1.9, 1.1),
    Photograph((102, 113, 125), (23.7, 22.8, 21.3), (31.0, 30.9, 30.7), 2.8, 0.8),
)
CLOUD = 100.0
UNEVEN = 0.35  # deviation of the logarithm of the crystals' contrast from place to place
SMALL = 64  # images up to this size get photographs scaled to a fifth: every fifth pixel, as published
FIFTH = 5


def _gains(torus: tuple[int, int], step: int, size: float, power: float = 1.0) -> np.ndarray:
    """Returns the factors, [h, w], that give a white spectrum the correlation exp(-(r / size)^power).

    Neighbouring pixels on the torus are `step` apart.
    """
    rows, columns = (np.minimum(np.arange(side), side - np.arange(side)) for side in torus)
    correlation = np.exp(-((step * np.hypot(rows[:, None], columns) / size) ** power))
    return np.sqrt(np.maximum(np.fft.fft2(correlation).real, 0)).astype(np.float32)


def _fields(key: Array, gains: Array) -> tuple[Array, Array]:
    """Returns two independent Gaussian fields, [h, w]: the real and the imaginary part of one transform."""
    white = jax.random.normal(key, (2, *gains.shape))
    both = jnp.fft.fft2(jax.lax.complex(gains * white[0], gains * white[1]), norm="ortho")
    return jnp.real(both), jnp.imag(both)


def ice(key: Array, shape: tuple[int, int]) -> Array:
    """Returns a texture of ice, [h, w, 3] from 0 to 255.

    Synthesized instead of cropped from a photograph: the colour of one of five, drawn at random, and Gaussian
    noise with the correlations of its clouds and crystals, on a torus twice as large as the image, so that
    the mean differs from crop to crop.  The crystals' contrast varies from place to place as smoothly as the
    clouds.  Crystals have no sharp edges, since phases are random.
    """
    which_key, cloud_key, crystal_key = jax.random.split(key, 3)
    which = jax.random.randint(which_key, (), 0, len(PHOTOGRAPHS))
    colors = jnp.asarray([photograph[:3] for photograph in PHOTOGRAPHS], jnp.float32)[which]
    mean, clouds, crystals = colors[:, None, None]
    torus, step = (2 * shape[0], 2 * shape[1]), FIFTH if min(shape) <= SMALL else 1
    fine = np.stack([_gains(torus, step, photograph.size, photograph.power) for photograph in PHOTOGRAPHS])
    light, density = _fields(cloud_key, jnp.asarray(_gains(torus, step, CLOUD)))
    facets = _fields(crystal_key, jnp.asarray(fine)[which])[0]
    facets = facets * jnp.exp(UNEVEN * density - UNEVEN**2)  # the factor's mean square is 1
    texture = mean + clouds * light[..., None] + crystals * facets[..., None]
    return jnp.clip(jnp.round(texture[: shape[0], : shape[1]]), 0, GREY)


def frost(key: Array, image: Array, kept: float, added: float) -> Array:
    """Returns kept x + added `ice`; an image of one channel gets the mean of the ice's channels."""
    texture = ice(key, (image.shape[0], image.shape[1]))
    if image.shape[2] == 1:
        texture = jnp.mean(texture, axis=2, keepdims=True)
    return kept * image + added * texture


def snow(
    key: Array,
    image: Array,
    mean: float,
    deviation: float,
    zoom: float,
    threshold: float,
    radius: int,
    smear: float,
    kept: float,
) -> Array:
    """Returns kept x + (1 - kept) max(x, 1.5 grey(x) + 0.5) + flakes + flakes turned by 180 degrees.

    x is from 0 to 1.  Flakes are N(mean, deviation^2) in each pixel, enlarged, 0 below the threshold,
    truncated to whole levels and smeared downwards at a random angle (`streak`, radius and smear in pixels).
    """
    noise_key, angle_key = jax.random.split(key)
    flakes = mean + deviation * jax.random.normal(noise_key, (*image.shape[:2], 1))
    flakes = filtered(flakes, partial(zoom_matrix, zoom=zoom))
    flakes = jnp.where(flakes < threshold, 0, flakes)
    angle = jax.random.uniform(angle_key, minval=-135.0, maxval=-45.0)
    fallen = jnp.round(streak(jnp.floor(jnp.clip(flakes, 0, 1) * GREY), angle, radius, smear))
    grey = image if image.shape[2] == 1 else image @ jnp.array([[0.299], [0.587], [0.114]])
    pale = kept * image + (1 - kept) * jnp.maximum(image, grey * 1.5 + 0.5 * GREY)
    return pale + fallen + fallen[::-1, ::-1]
