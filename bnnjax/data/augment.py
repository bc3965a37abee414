"""Data augmentation on the device: random crop, horizontal flip, colours and noise; and normalization."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from bnnjax.data.images import require_grey_levels, require_unit_floats

LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
# Principal components of the colours of ImageNet's images, in [0, 1]; each is a column.
VARIANCES = np.array([0.2175, 0.0188, 0.0045], np.float32)
COMPONENTS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]], np.float32
)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How training images are varied. The defaults change nothing.

    Raises:
      ValueError: `crop_padding`, `lighting` or `noise` is negative, `jitter` not three numbers in [0, 1], or
        `noise_share` not in [0, 1].
    """

    crop_padding: int = 0  # zeros added on each side before a crop of the original size; 0: no crop
    flip: bool = False  # mirror left and right with probability 1/2
    jitter: tuple[float, ...] = (0.0, 0.0, 0.0)  # of brightness, contrast and saturation, see `color_jitter`
    lighting: float = 0.0  # standard deviation of `light`
    noise: float = 0.0  # standard deviation of Gaussian noise, in units where 255 is 1
    noise_share: float = 0.0  # of a batch's images, those that get it

    def __post_init__(self) -> None:
        if self.crop_padding < 0:
            raise ValueError(f"crop_padding is {self.crop_padding}: allowed is 0 or more")
        if len(self.jitter) != 3 or not all(0 <= strength <= 1 for strength in self.jitter):
            raise ValueError(f"jitter is {self.jitter}: allowed are three numbers in [0, 1]")
        if not 0 <= self.lighting < np.inf:
            raise ValueError(f"lighting is {self.lighting}: allowed is 0 or more")
        if not 0 <= self.noise < np.inf:
            raise ValueError(f"noise is {self.noise}: allowed is 0 or more")
        if not 0 <= self.noise_share <= 1:
            raise ValueError(f"noise_share is {self.noise_share}: allowed is a number in [0, 1]")

    @property
    def changes_levels(self) -> bool:
        """Whether it does more than to move pixels."""
        return any(self.jitter) or self.lighting > 0 or self.noise * self.noise_share > 0


def augment(
    key: jax.Array, images: jax.Array, augmentation: Augmentation, *, first: int | jax.Array = 0
) -> jax.Array:
    """Randomly crops each image after zero padding, flips it, varies its colours and adds noise to some.

    What happens to an image is a function only of `key` and of its place in the global batch: for
    any k, augment(key, x) equals augment(key, x[:k]) followed by augment(key, x[k:], first=k). A
    batch that is split over devices is therefore augmented like the whole batch on one device.

    Args:
      key: a random key, the same on all devices.
      images: uint8 [batch, h, w, c].
      augmentation: static.
      first: the place of images[0] in the global batch, int32 [].

    Returns:
      uint8 [batch, h, w, c].

    Raises:
      ValueError: if the images are of another form.
    """
    require_grey_levels(images)
    padding = augmentation.crop_padding
    if augmentation == Augmentation():
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
        if augmentation.changes_levels:
            levels = _vary_levels(flip_key, image.astype(jnp.float32), place, augmentation)
            image = jnp.round(jnp.clip(levels, 0, 255)).astype(jnp.uint8)
        return image

    return jax.vmap(vary)(places, jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0))))


def _vary_levels(key: jax.Array, image: jax.Array, place: jax.Array, augmentation: Augmentation) -> jax.Array:
    jitter_key, light_key = jax.random.split(jax.random.fold_in(key, 1))
    if any(augmentation.jitter):
        image = color_jitter(jitter_key, image, augmentation.jitter)
    if augmentation.lighting:
        image = light(light_key, image, augmentation.lighting)
    if augmentation.noise and augmentation.noise_share:
        noise = 255 * augmentation.noise * jax.random.normal(jax.random.fold_in(key, 2), image.shape)
        image = jnp.where(is_chosen(place, augmentation.noise_share), image + noise, image)
    return image


def is_chosen(place: jax.Array, share: float) -> jax.Array:
    """Returns whether a place in a batch is one of the share: ceil(n share) of the first n places are.

    They are evenly spaced; which images stand there is random, as their order is.

    Args:
      place: int32.
      share: in [0, 1], to 4 digits.
    """
    chosen, of = Fraction(share).limit_denominator(10_000).as_integer_ratio()
    return -(-(place + 1) * chosen // of) > -(-place * chosen // of)


def color_jitter(key: jax.Array, image: jax.Array, strengths: Sequence[float]) -> jax.Array:
    """Changes brightness, contrast and saturation by factors uniform in [1 - strength, 1 + strength].

    Each mixes the image with black, with the mean of its luminance or with its luminance, and clips the
    result to [0, 255].  As torchvision's ColorJitter, but always in this order.

    Args:
      key: random.
      image: float32 [h, w, 3], of 0 to 255.
      strengths: of the three, in [0, 1].
    """
    factors = 1 + jnp.asarray(strengths, jnp.float32) * jax.random.uniform(key, (3,), minval=-1.0)
    image = jnp.clip(factors[0] * image, 0, 255)
    mean = jnp.mean(luminance(image))
    image = jnp.clip(mean + factors[1] * (image - mean), 0, 255)
    grey = luminance(image)
    return jnp.clip(grey + factors[2] * (image - grey), 0, 255)


def luminance(image: jax.Array) -> jax.Array:
    """Returns 0.299 red + 0.587 green + 0.114 blue, [h, w, 1]."""
    return jnp.sum(image * LUMINANCE.reshape(1, 1, 3), axis=-1, keepdims=True)


def light(key: jax.Array, image: jax.Array, std: float) -> jax.Array:
    """Adds 255 sum_i a_i l_i v_i to all pixels, with l, v the principal components of ImageNet's colours.

    a_i are normal with standard deviation std (Krizhevsky, Sutskever and Hinton 2012, section 4.1).

    Args:
      key: random.
      image: float32 [h, w, 3], of 0 to 255.
      std: 0.1 as published.
    """
    amounts = std * jax.random.normal(key, (1, 3)) * VARIANCES.reshape(1, 3)
    return image + 255 * jnp.sum(COMPONENTS * amounts, axis=1).reshape(1, 1, 3)


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
      ValueError: the images are of another form, `mean` or `std` has not one entry per channel, or an entry
        of `std` is not above 0.
    """
    require_grey_levels(images)
    return _centred(images.astype(jnp.float32), mean, std, dtype)


def normalize_floats(
    images: jax.Array, mean: Sequence[float], std: Sequence[float], dtype: DTypeLike
) -> jax.Array:
    """Returns (images - mean) / std of floats in [0, 1]: to the bit what `normalize` gives for uint8 / 255.

    Raises:
      ValueError: as `normalize`; also for an entry outside of [0, 1], where it is not traced.
    """
    require_unit_floats(images)
    return _centred(255 * images.astype(jnp.float32), mean, std, dtype)


def _centred(levels: jax.Array, mean: Sequence[float], std: Sequence[float], dtype: DTypeLike) -> jax.Array:
    """Returns (levels / 255 - mean) / std, levels float32."""
    channels = levels.shape[-1]
    if len(mean) != channels or len(std) != channels:
        raise ValueError(
            f"mean and std have {len(mean)} and {len(std)} entries: allowed is {channels}, the channels"
        )
    if min(std) <= 0:
        raise ValueError(f"std is {tuple(std)}: allowed are entries above 0")
    # Folded on the host in double precision, which leaves one multiplication and one addition.
    scale = 1 / (255 * np.asarray(std, dtype=np.float64))
    shift = -np.asarray(mean, dtype=np.float64) / np.asarray(std, dtype=np.float64)
    shape = (1, 1, 1, channels)
    scaled = levels * jnp.asarray(scale.reshape(shape), dtype=jnp.float32)
    return (scaled + jnp.asarray(shift.reshape(shape), dtype=jnp.float32)).astype(dtype)
