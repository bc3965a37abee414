"""Random crop, horizontal flip and normalization of image batches, on the device."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How training images are varied. The defaults change nothing.

    Raises:
      ValueError: `crop_padding` is negative.
    """

    crop_padding: int = 0  # zeros added on each side before a crop of the original size; 0: no crop
    flip: bool = False  # mirror left and right with probability 1/2

    def __post_init__(self) -> None:
        if self.crop_padding < 0:
            raise ValueError(f"crop_padding is {self.crop_padding}: allowed is 0 or more")


def augment(
    key: jax.Array, images: jax.Array, augmentation: Augmentation, *, first: int | jax.Array = 0
) -> jax.Array:
    """Gives every image a random crop of its zero-padded self and a random horizontal flip.

    What happens to an image is a function of `key` and of its place in the global batch alone: for
    any k, augment(key, x) equals augment(key, x[:k]) followed by augment(key, x[k:], first=k). A
    batch that is split over devices is therefore augmented like the whole batch on one device.

    Args:
      key: a random key, the same on all devices.
      images: uint8 [batch, h, w, c].
      augmentation: static.
      first: the place of images[0] in the global batch, int32 [].

    Returns:
      uint8 [batch, h, w, c].
    """
    padding = augmentation.crop_padding
    if not padding and not augmentation.flip:
        return images
    batch, height, width, channels = images.shape
    places = jnp.arange(batch, dtype=jnp.int32) + jnp.asarray(first, dtype=jnp.int32)

    def vary(place: jax.Array, padded: jax.Array) -> jax.Array:
        crop_key, flip_key = jax.random.split(jax.random.fold_in(key, place))
        top, left = jax.random.randint(crop_key, (2,), 0, 2 * padding + 1)
        zero = jnp.zeros((), dtype=top.dtype)
        image = jax.lax.dynamic_slice(padded, (top, left, zero), (height, width, channels))
        if augmentation.flip:
            image = jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)
        return image

    return jax.vmap(vary)(places, jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0))))


def normalize(images: jax.Array, mean: Sequence[float], std: Sequence[float], dtype: DTypeLike) -> jax.Array:
    """Centers and scales each channel: (images / 255 - mean) / std, computed in float32.

    Args:
      images: uint8 [batch, h, w, c].
      mean: one number per channel, in units where 255 is 1.
      std: likewise, above 0.
      dtype: of the result.

    Returns:
      `dtype` [batch, h, w, c].

    Raises:
      ValueError: `mean` or `std` has not one entry per channel, or an entry of `std` is not above 0.
    """
    channels = images.shape[-1]
    if len(mean) != channels or len(std) != channels:
        raise ValueError(
            f"mean and std have {len(mean)} and {len(std)} entries: allowed is {channels}, the channels"
        )
    if min(std) <= 0:
        raise ValueError(f"std is {tuple(std)}: allowed are entries above 0")
    # Folded on the host in double precision: one multiplication and one addition are left.
    scale = 1 / (255 * np.asarray(std, dtype=np.float64))
    shift = -np.asarray(mean, dtype=np.float64) / np.asarray(std, dtype=np.float64)
    shape = (1, 1, 1, channels)
    scaled = images.astype(jnp.float32) * jnp.asarray(scale.reshape(shape), dtype=jnp.float32)
    return (scaled + jnp.asarray(shift.reshape(shape), dtype=jnp.float32)).astype(dtype)
