"""Noise on images, of the kinds and severities of CIFAR-10-C, on the device.

Hendrycks and Dietterich, ICLR 2019, arXiv 1903.12261; the values are those of the published script for 32x32
images, `make_cifar_c.py`.  As there, results are cut to whole grey levels, not rounded.
"""

import zlib
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

GREY = 255.0  # the brightest level
SEVERITIES = (1, 2, 3, 4, 5)


def gaussian_noise(key: Array, image: Array, deviation: float) -> Array:
    """Returns x + N(0, deviation^2), deviation in units of the brightest level.

    Args:
      key: random.
      image: [h, w, c] float32, 0 to 255; so the other corruptions.
      deviation: of the noise.
    """
    return image + GREY * deviation * jax.random.normal(key, image.shape)


def impulse_noise(key: Array, image: Array, share: float) -> Array:
    """Returns x with this share of its entries, each channel on its own, made 0 or 255, as likely."""
    hit_key, salt_key = jax.random.split(key)
    salted = jnp.where(jax.random.bernoulli(salt_key, shape=image.shape), GREY, 0.0)
    return jnp.where(jax.random.bernoulli(hit_key, share, image.shape), salted, image)


def gaussian_blur(key: Array, image: Array, deviation: float) -> Array:
    """Returns x convolved with a Gaussian, deviation in pixels, cut off at 4; edges are repeated."""
    radius = int(4 * deviation + 0.5)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    taps /= taps.sum()
    for axis in (0, 1):
        widths = [(radius, radius) if a == axis else (0, 0) for a in range(image.ndim)]
        padded = jnp.pad(image, widths, mode="edge")
        shifted = [
            jax.lax.slice_in_dim(padded, place, place + image.shape[axis], axis=axis)
            for place in range(len(taps))
        ]
        image = sum((tap * part for tap, part in zip(taps, shifted, strict=True)), jnp.zeros_like(image))
    return image


# By name: the function, and its value at severities 1 to 5.
CORRUPTIONS: dict[str, tuple[Callable[[Array, Array, float], Array], tuple[float, ...]]] = {
    "gaussian_noise": (gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "impulse_noise": (impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07)),
    "gaussian_blur": (gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1.0)),
}


@partial(jax.jit, static_argnames=("corruption", "severity"))
def corrupt(key: Array, images: Array, corruption: str, severity: int, *, first: int | Array = 0) -> Array:
    """Returns images with noise, uint8 [batch, h, w, c].

    What happens to an image depends on `key`, the corruption and the image's place alone.

    Args:
      key: random.
      images: uint8 [batch, h, w, c].
      corruption: a name in CORRUPTIONS.
      severity: 1 to 5.
      first: the place of images[0] among all.

    Raises:
      ValueError: for another name or severity.
    """
    if corruption not in CORRUPTIONS:
        raise ValueError(f"unknown corruption {corruption!r}; allowed are {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be one of {', '.join(map(str, SEVERITIES))}; got {severity}")
    function, values = CORRUPTIONS[corruption]
    own = jax.random.fold_in(key, zlib.crc32(corruption.encode()))
    places = jnp.arange(len(images)) + jnp.asarray(first, jnp.int32)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(own, places)
    noisy = jax.vmap(lambda key, image: function(key, image, values[severity - 1]))(
        keys, images.astype(jnp.float32)
    )
    # A sum that should be a whole number must not lose a level to rounding.
    return jnp.floor(jnp.clip(noisy, 0, GREY) + 1e-3).astype(jnp.uint8)
