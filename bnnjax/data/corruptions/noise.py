"""Noise corruptions, independent in every pixel: Gaussian, shot, impulse and speckle noise.

Images are [h, w, c] float32 from 0 to 255.  Functions take a key, the image and the values of a severity.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

GREY = 255.0  # the brightest level


def gaussian_noise(key: Array, image: Array, deviation: float) -> Array:
    """Returns x + N(0, deviation^2), deviation in units of the brightest level."""
    return image + GREY * deviation * jax.random.normal(key, image.shape)


def poisson_table(photons: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distribution function of Poisson(photons * g / 255) for each grey level g.

    Returns:
      int32 [256], the first count k0 whose probability is not negligible, and float32 [256, 2^n], P(count <=
      k0 + i), which ends in ones.
    """
    from scipy.special import pdtr  # here: it would take 0.2 s of every start

    means = photons * np.arange(256) / GREY
    reach = 7 * np.sqrt(means) + 12
    first = np.maximum(means - reach, 0).astype(np.int32)
    length = 2 ** int(np.ceil(np.log2(np.max(means + reach - first) + 2)))
    table = pdtr(first[:, None] + np.arange(length), means[:, None])
    return first, table.astype(np.float32)


def shot_noise(key: Array, image: Array, photons: float) -> Array:
    """Returns Poisson(photons x) / photons, x from 0 to 1.

    Drawn by inverting a table of the distribution function for each grey level, to float32's resolution.
    """
    first, table = poisson_table(photons)
    uniform = jax.random.uniform(key, image.shape)
    level = jnp.round(image).astype(jnp.int32)
    flat = jnp.asarray(table).reshape(-1)
    length = table.shape[1]
    # The number of counts whose distribution is at most `uniform`, by bisection.
    count = jnp.zeros(image.shape, jnp.int32)
    step = length // 2
    while step:
        ahead = count + step
        count = jnp.where(flat[level * length + ahead - 1] <= uniform, ahead, count)
        step //= 2
    return (jnp.asarray(first)[level] + count).astype(image.dtype) * (GREY / photons)


def impulse_noise(key: Array, image: Array, share: float) -> Array:
    """Returns x with a random share of its entries, each channel on its own, set to 0 or 255 at random."""
    hit_key, salt_key = jax.random.split(key)
    salted = jnp.where(jax.random.bernoulli(salt_key, shape=image.shape), GREY, 0.0)
    return jnp.where(jax.random.bernoulli(hit_key, share, image.shape), salted, image)


def speckle_noise(key: Array, image: Array, deviation: float) -> Array:
    """Returns x + x N(0, deviation^2)."""
    return image + image * deviation * jax.random.normal(key, image.shape)
