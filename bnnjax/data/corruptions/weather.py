"""Fog, frost and snow.

Images are [h, w, c] float32 from 0 to 255.  Functions take a key, the image and the values of a severity.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bnnjax.data.corruptions.blur import streak
from bnnjax.data.corruptions.filters import filtered, zoom_matrix
from bnnjax.data.corruptions.noise import GREY


def plasma(key: Array, size: int, decay: float) -> Array:
    """Returns a cloud by the diamond-square algorithm on a torus, [size, size] from 0 to 1.

    Each new point is the mean of its four neighbours and a uniform number within +-a^2, where a is 100 at
    first and divided by `decay` at each halving of the step.  `size` is a power of two.
    """
    cloud = jnp.zeros((size, size))
    step, wobble = size, 100.0
    while step >= 2:
        half = step // 2
        *own, key = jax.random.split(key, 4)
        cells = (size // step, size // step)
        # Drawn by one program: most of the time for compilation goes into generators of random numbers.
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


# Of the five photographs of ice in the published scripts (the second and third are alike): grey levels at the
# 0, 12.5, ... 100 % quantiles, the channels as linear functions of the grey level (factor, offset), and the
# slope of log power over log frequency, of the photograph and of it scaled to a fifth, for small images.
ICE_LEVELS = (
    (82, 111, 118, 123, 129, 135, 142, 152, 219),
    (57, 181, 195, 203, 210, 216, 222, 230, 254),
    (57, 181, 195, 203, 210, 216, 222, 230, 254),
    (23, 121, 134, 144, 152, 160, 169, 182, 254),
    (26, 75, 92, 106, 119, 134, 151, 176, 255),
)
ICE_COLORS = (
    ((1.37, -101.5), (0.90, 31.3), (0.73, 70.2)),
    ((0.97, 0.1), (1.00, -2.5), (1.03, 2.4)),
    ((0.97, 0.1), (1.00, -2.5), (1.03, 2.4)),
    ((0.98, -11.9), (0.99, 3.2), (1.03, 8.7)),
    ((1.03, -14.9), (1.00, -0.6), (0.97, 15.4)),
)
ICE_SLOPES = {"photograph": (-1.24, -2.00, -2.00, -1.44, -1.84), "fifth": (-1.10, -0.35, -0.35, -0.24, -1.15)}
SMALL = 64  # pixels up to which images get textures of the photographs scaled to a fifth


def ice(key: Array, shape: tuple[int, int]) -> Array:
    """Returns a texture of ice, [h, w, 3] from 0 to 255.

    Made instead of cut from a photograph: Gaussian noise with a power law for its spectrum, on a torus twice
    as large as the image, so that the mean differs from cut to cut.  Its values are then mapped to the grey
    levels and colours of one of the five photographs, drawn at random.  Crystals have no edges: phases are
    random.
    """
    which_key, noise_key = jax.random.split(key)
    which = jax.random.randint(which_key, (), 0, len(ICE_LEVELS))
    slopes = ICE_SLOPES["fifth" if min(shape) <= SMALL else "photograph"]
    height, width = 2 * shape[0], 2 * shape[1]
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(height), np.fft.rfftfreq(width), indexing="ij"))
    is_constant = frequency == 0
    log_frequency = jnp.asarray(np.log(np.where(is_constant, 1.0, frequency)), jnp.float32)
    gains = jnp.exp(jnp.asarray(slopes, jnp.float32)[which] / 2 * log_frequency)
    filters = jnp.where(is_constant, 0.0, gains)
    white = jnp.fft.rfft2(jax.random.normal(noise_key, (height, width)))
    field = jnp.fft.irfft2(white * filters.astype(white.dtype), (height, width))
    share = jax.scipy.stats.norm.cdf(field / jnp.std(field))[: shape[0], : shape[1]]
    levels = jnp.asarray(ICE_LEVELS, jnp.float32)[which]
    grey = jnp.interp(share, jnp.linspace(0, 1, levels.shape[0]), levels)
    color = jnp.asarray(ICE_COLORS, jnp.float32)[which]
    return jnp.clip(jnp.round(grey[..., None] * color[None, None, :, 0] + color[None, None, :, 1]), 0, GREY)


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

    x from 0 to 1.  Flakes are N(mean, deviation^2) a pixel, enlarged, 0 below the threshold, cut to whole
    levels and smeared downwards at a random angle (`streak`, radius and smear in pixels).
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
