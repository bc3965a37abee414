"""The 19 image corruptions of CIFAR-10-C and ImageNet-C at 5 severities, generated on the device.

Hendrycks and Dietterich, ICLR 2019, arXiv 1903.12261; the values are those of the published scripts,
`make_cifar_c.py` for 32x32 images and `make_imagenet_c.py` for 224x224.  As there, results are truncated to
whole grey levels, not rounded.  The published ImageNet-C is compressed by JPEG afterwards (quality 85);
this is not.

Sizes in pixels are the same for images of any size, except in `elastic_transform` and `fog`.
"""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bnnjax.data.corruptions.blur import defocus_blur, gaussian_blur, glass_blur, motion_blur, zoom_blur
from bnnjax.data.corruptions.digital import brightness, contrast, elastic_transform, pixelate, saturate
from bnnjax.data.corruptions.jpeg import jpeg_compression
from bnnjax.data.corruptions.noise import GREY, gaussian_noise, impulse_noise, shot_noise, speckle_noise
from bnnjax.data.corruptions.spatter import spatter
from bnnjax.data.corruptions.weather import fog, frost, snow
from bnnjax.data.images import require_grey_levels
from bnnjax.runtime.keys import named_key

SEVERITIES = (1, 2, 3, 4, 5)
SMALLEST = 4  # pixels of a side
LARGEST_SMALL = 64  # pixels of the shorter side up to which CIFAR-10-C's values are used
TITLES = {"cifar10c": "CIFAR-10-C", "imagenetc": "ImageNet-C"}
SETS = tuple(TITLES)

Values = tuple[tuple[Any, ...], ...]


class Corruption(NamedTuple):
    """A corruption: (key, image float32 [h, w, c] from 0 to 255, *values) -> image, and its values."""

    function: Callable[..., Array]
    cifar10c: Values  # at severities 1 to 5
    imagenetc: Values


def _single(*values: float) -> Values:
    return tuple((value,) for value in values)


def _slip(*shares: tuple[float, float, float]) -> Values:
    # The published script for 224x224 images says 244.
    return tuple(tuple(share * 244 / 224 for share in severity) for severity in shares)


# Names and order as in the paper and in the published files.
_BENCHMARK = {
    "gaussian_noise": Corruption(
        gaussian_noise, _single(0.04, 0.06, 0.08, 0.09, 0.10), _single(0.08, 0.12, 0.18, 0.26, 0.38)
    ),
    "shot_noise": Corruption(shot_noise, _single(500, 250, 100, 75, 50), _single(60, 25, 12, 5, 3)),
    "impulse_noise": Corruption(
        impulse_noise, _single(0.01, 0.02, 0.03, 0.05, 0.07), _single(0.03, 0.06, 0.09, 0.17, 0.27)
    ),
    "defocus_blur": Corruption(
        defocus_blur,
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    ),
    "glass_blur": Corruption(
        glass_blur,
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    ),
    "motion_blur": Corruption(
        motion_blur,
        ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    ),
    "zoom_blur": Corruption(
        zoom_blur,
        ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    ),
    "snow": Corruption(
        snow,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
    ),
    "frost": Corruption(
        frost,
        ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    ),
    "fog": Corruption(
        fog,
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    ),
    "brightness": Corruption(
        brightness, _single(0.05, 0.1, 0.15, 0.2, 0.3), _single(0.1, 0.2, 0.3, 0.4, 0.5)
    ),
    "contrast": Corruption(contrast, _single(0.75, 0.5, 0.4, 0.3, 0.15), _single(0.4, 0.3, 0.2, 0.1, 0.05)),
    "elastic_transform": Corruption(
        elastic_transform,
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
        _slip((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)),
    ),
    "pixelate": Corruption(pixelate, _single(0.95, 0.9, 0.85, 0.75, 0.65), _single(0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg_compression": Corruption(jpeg_compression, _single(80, 65, 58, 50, 40), _single(25, 18, 15, 10, 7)),
}
_EXTRA = {
    "speckle_noise": Corruption(
        speckle_noise, _single(0.06, 0.1, 0.12, 0.16, 0.2), _single(0.15, 0.2, 0.35, 0.45, 0.6)
    ),
    "gaussian_blur": Corruption(gaussian_blur, _single(0.4, 0.6, 0.7, 0.8, 1.0), _single(1, 2, 3, 4, 6)),
    "spatter": Corruption(
        spatter,
        (
            (0.62, 0.1, 0.7, 0.7, 0.5, 0),
            (0.65, 0.1, 0.8, 0.7, 0.5, 0),
            (0.65, 0.3, 1, 0.69, 0.5, 0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ),
        (
            (0.65, 0.3, 4, 0.69, 0.6, 0),
            (0.65, 0.3, 3, 0.68, 0.6, 0),
            (0.65, 0.3, 2, 0.68, 0.5, 0),
            (0.65, 0.3, 1, 0.65, 1.5, 1),
            (0.67, 0.4, 1, 0.65, 1.5, 1),
        ),
    ),
    "saturate": Corruption(
        saturate,
        ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
    ),
}
BENCHMARK, EXTRA = tuple(_BENCHMARK), tuple(_EXTRA)  # the 15 that enter scores, and 4 more
CORRUPTIONS: dict[str, Corruption] = {**_BENCHMARK, **_EXTRA}


def values_for(shape: tuple[int, ...]) -> str:
    """Returns whose values, of SETS, suit images [..., h, w, c]."""
    return SETS[0] if min(shape[-3:-1]) <= LARGEST_SMALL else SETS[1]


def check_shape(shape: tuple[int, ...]) -> None:
    """Refuses the shape of images, [batch, h, w, c], that have no noise here.

    Raises:
      ValueError: unless c is 1 or 3, and h and w are at least 4.
    """
    if len(shape) != 4 or shape[-1] not in (1, 3) or min(shape[-3:-1]) < SMALLEST:
        raise ValueError(
            f"images must be [batch, h, w, 1 or 3], h and w at least {SMALLEST}, to be corrupted; "
            f"got {list(shape)}"
        )


def corrupt(
    key: Array,
    images: Array | np.ndarray,
    corruption: str,
    severity: int,
    *,
    first: int | Array = 0,
    values: str | None = None,
) -> Array:
    """Returns images with noise, uint8 [batch, h, w, c].

    The noise of an image depends only on `key`, the corruption and the image's place; all severities use the
    same random numbers.

    Args:
      key: random.
      images: uint8 [batch, h, w, c], c 1 or 3; grey images are treated as grey RGB images.
      corruption: a name in CORRUPTIONS.
      severity: 1 to 5.
      first: the place of images[0] among all.
      values: cifar10c or imagenetc; None: as `values_for`.

    Raises:
      ValueError: for another name, severity, type or shape.
    """
    return corrupt_severities(key, images, corruption, (severity,), first=first, values=values)[0]


def corrupt_severities(
    key: Array,
    images: Array | np.ndarray,
    corruption: str,
    severities: tuple[int, ...],
    *,
    first: int | Array = 0,
    values: str | None = None,
) -> Array:
    """Returns images with noise at several severities by one program, uint8 [severities, batch, h, w, c].

    Arguments and errors are those of `corrupt`, which gives the same pixels.
    """
    if corruption not in CORRUPTIONS:
        raise ValueError(f"unknown corruption {corruption!r}; allowed are {', '.join(CORRUPTIONS)}")
    for severity in severities:
        if severity not in SEVERITIES:
            raise ValueError(f"severity must be one of {', '.join(map(str, SEVERITIES))}; got {severity}")
    if values is not None and values not in SETS:
        raise ValueError(f"values must be one of {', '.join(SETS)}; got {values}")
    require_grey_levels(images)
    check_shape(images.shape)
    keys = _own_keys(named_key(key, corruption), jnp.asarray(first, jnp.int32), len(images))
    return _program()(keys, images, corruption, severities, values)


def compile_corruption(shape: tuple[int, ...], corruption: str, severities: tuple[int, ...]) -> None:
    """Compiles the program of `corrupt_severities` for images of this shape; thread-safe."""
    keys = jax.eval_shape(partial(jax.random.split, num=shape[0]), jax.random.key(0))
    images = jax.ShapeDtypeStruct(shape, jnp.uint8)
    _program().lower(keys, images, corruption, severities, None).compile()


@partial(jax.jit, static_argnames="count")
def _own_keys(key: Array, first: Array, count: int) -> Array:
    """Returns the key of each image, [count]; a separate program, which all corruptions share."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count) + first)


@functools.cache
def _program() -> jax.stages.Wrapped:
    # On CPUs LLVM's optimization level 1 gives the same pixels for half the compilation time, which is far
    # longer than a thousand images take; the backend is not known before the first call.
    options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else {}
    static = ("corruption", "severities", "values")
    return jax.jit(_corrupted, static_argnames=static, compiler_options=options)


def _corrupted(
    keys: Array, images: Array, corruption: str, severities: tuple[int, ...], values: str | None
) -> Array:
    found = CORRUPTIONS[corruption]
    pixels = images.astype(jnp.float32)

    def one(settings: tuple[Any, ...]) -> Array:
        noisy = jax.vmap(lambda key, image: found.function(key, image, *settings))(keys, pixels)
        # A sum that should be a whole number must not lose a level to rounding.
        return jnp.floor(jnp.clip(noisy, 0, GREY) + 1e-3).astype(jnp.uint8)

    table = getattr(found, values or values_for(images.shape))
    return jnp.stack([one(table[severity - 1]) for severity in severities])
