import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.data.augment import Augmentation, augment, normalize

jitted = jax.jit(augment, static_argnums=2)


def noise(batch: int, height: int = 5, width: int = 4, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(1, 256, (batch, height, width, channels), dtype=np.uint8)


def variants(image: np.ndarray, padding: int, flip: bool) -> list[np.ndarray]:
    """Every crop of the zero-padded image by explicit slicing, each followed by its mirror image."""
    height, width, _ = image.shape
    canvas = np.zeros((height + 2 * padding, width + 2 * padding, 3), dtype=np.uint8)
    canvas[padding : padding + height, padding : padding + width] = image
    offsets = itertools.product(range(2 * padding + 1), repeat=2)
    crops = [canvas[top : top + height, left : left + width] for top, left in offsets]
    return [each for crop in crops for each in ((crop, crop[:, ::-1]) if flip else (crop,))]


@pytest.mark.parametrize(("padding", "flip"), [(1, True), (0, True), (2, False)])
def test_every_image_becomes_one_of_its_variants_and_all_are_equally_likely(padding: int, flip: bool) -> None:
    image = noise(1)[0]
    batch = 3000
    augmentation = Augmentation(crop_padding=padding, flip=flip)
    out = np.asarray(jitted(jax.random.key(0), jnp.tile(image, (batch, 1, 1, 1)), augmentation))
    assert out.dtype == np.uint8
    allowed = variants(image, padding, flip)
    counts = [int((out == each).all(axis=(1, 2, 3)).sum()) for each in allowed]
    assert sum(counts) == batch
    expected = batch / len(allowed)
    assert np.abs(np.array(counts) - expected).max() < 5 * np.sqrt(expected)


def test_images_of_a_batch_are_varied_independently() -> None:
    images = noise(64)
    out = np.asarray(jitted(jax.random.key(3), jnp.asarray(images), Augmentation(crop_padding=2, flip=True)))
    chosen = [
        next(i for i, each in enumerate(variants(image, 2, True)) if np.array_equal(each, result))
        for image, result in zip(images, out, strict=True)
    ]
    assert len(set(chosen)) > 20


def test_a_split_batch_is_augmented_like_the_whole() -> None:
    images, augmentation = jnp.asarray(noise(9)), Augmentation(crop_padding=4, flip=True)
    for key in jax.random.split(jax.random.key(2), 4):
        whole = jitted(key, images, augmentation)
        parts = [jitted(key, images[i : i + 3], augmentation, first=i) for i in (0, 3, 6)]
        np.testing.assert_array_equal(whole, jnp.concatenate(parts))


def test_another_key_gives_another_batch() -> None:
    images, augmentation = jnp.asarray(noise(8)), Augmentation(crop_padding=4, flip=True)
    first, second = (jitted(jax.random.key(seed), images, augmentation) for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_the_default_changes_nothing() -> None:
    images = jnp.asarray(noise(4))
    np.testing.assert_array_equal(augment(jax.random.key(0), images, Augmentation()), images)


def test_negative_padding_is_refused() -> None:
    with pytest.raises(ValueError, match="-1: allowed is 0 or more"):
        Augmentation(crop_padding=-1)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(jnp.float32, 1e-6), (jnp.bfloat16, 1e-2), (jnp.float16, 2e-3)]
)
def test_normalize_is_the_formula(dtype: jnp.dtype, tolerance: float) -> None:
    images, mean, std = noise(2), (0.49, 0.48, 0.44), (0.25, 0.24, 0.26)
    out = normalize(jnp.asarray(images), mean, std, dtype)
    assert out.dtype == dtype
    expected = (images.astype(np.float64) / 255 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(np.asarray(out, dtype=np.float64), expected, atol=tolerance, rtol=tolerance)


def test_normalize_refuses_other_channel_counts_and_empty_spread() -> None:
    images = jnp.asarray(noise(2))
    with pytest.raises(ValueError, match="1 and 3 entries: allowed is 3"):
        normalize(images, (0.5,), (0.2, 0.2, 0.2), jnp.float32)
    with pytest.raises(ValueError, match="above 0"):
        normalize(images, (0.5, 0.5, 0.5), (0.2, 0.0, 0.2), jnp.float32)
