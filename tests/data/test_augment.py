import itertools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from bnnjax.data.augment import (
    Augmentation,
    augment,
    color_jitter,
    is_chosen,
    light,
    normalize,
    normalize_floats,
)

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


def test_normalize_floats_is_normalize_to_the_bit() -> None:
    images, mean, std = noise(2), (0.49, 0.48, 0.44), (0.25, 0.24, 0.26)
    stored = normalize(images, mean, std, jnp.float32)
    for dtype in (np.float32, np.float64):
        found = normalize_floats((images / 255).astype(dtype), mean, std, jnp.float32)
        np.testing.assert_array_equal(found, stored)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (noise(2).astype(np.float32) / 255, r"uint8 \[batch, h, w, c\]; got float32 \[2, 5, 4, 3\]"),
        (noise(2).astype(np.int32), "got int32"),
        (noise(2) > 9, "got bool"),
        (noise(2)[None], r"got uint8 \[1, 2, 5, 4, 3\]"),
        (noise(2)[0], r"got uint8 \[5, 4, 3\]"),
        (noise(2).tolist(), "got a list"),
    ],
)
def test_images_that_are_not_stored_ones_are_refused(images: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        normalize(images, (0.5,) * 3, (0.2,) * 3, jnp.float32)
    with pytest.raises(ValueError, match=message):
        augment(jax.random.key(0), images, Augmentation(flip=True))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (noise(2), r"floats in \[0, 1\], \[batch, h, w, c\]; got uint8"),
        (noise(2).astype(np.float32), r"floats in \[0, 1\]; got 255"),
        (noise(2) / -255, "got -"),
        (noise(2)[0] / 255, r"got float64 \[5, 4, 3\]"),
        (np.where(np.arange(3) == 1, np.nan, noise(2) / 255), r"images\[0, 0, 0, 1\] is nan"),
        ([[0.5]], "got a list"),
    ],
)
def test_floats_that_are_not_images_are_refused(images: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        normalize_floats(images, (0.5,) * 3, (0.2,) * 3, jnp.float32)


def flat(*colour: int) -> np.ndarray:
    return np.tile(np.array(colour, np.uint8), (6, 5, 1))


@pytest.mark.parametrize(
    ("place", "enhancer"), [(0, ImageEnhance.Brightness), (1, ImageEnhance.Contrast), (2, ImageEnhance.Color)]
)
def test_a_change_of_colours_is_one_that_pillow_makes(place: int, enhancer: type) -> None:
    image, strengths = noise(1, 12, 10)[0], [0.0] * 3
    strengths[place] = 0.4
    factors = []
    for seed in range(40):
        ours = np.asarray(color_jitter(jax.random.key(seed), jnp.asarray(image, jnp.float32), strengths))
        candidates = {
            factor: np.asarray(enhancer(Image.fromarray(image)).enhance(factor), float)
            for factor in np.linspace(0.6, 1.4, 161)
        }
        errors = {factor: np.abs(theirs - ours).mean() for factor, theirs in candidates.items()}
        best = min(errors, key=lambda factor: errors[factor])
        assert errors[best] < 1  # Pillow rounds on the way, and the factor lies between two
        factors.append(best)
    assert min(factors) < 0.7
    assert max(factors) > 1.3


def test_light_moves_all_pixels_along_the_principal_components() -> None:
    image = jnp.asarray(noise(1)[0], jnp.float32)
    moves = np.stack([np.asarray(light(jax.random.key(i), image, 0.1) - image) for i in range(4000)])
    assert np.ptp(moves, axis=(1, 2)).max() < 1e-4  # of all pixels alike
    covariance = np.cov(moves[:, 0, 0].T)
    values, vectors = np.linalg.eigh(covariance)
    # Of the colours of ImageNet in [0, 1].
    expected = (255 * 0.1 * np.array([0.2175, 0.0188, 0.0045])) ** 2
    np.testing.assert_allclose(values[::-1], expected, rtol=0.1)
    assert abs(vectors[:, 2] @ np.array([-0.5675, -0.5808, -0.5836])) > 0.999


def test_colours_of_a_split_batch_are_those_of_the_whole_and_grey_stays_grey() -> None:
    augmentation = Augmentation(flip=True, jitter=(0.4, 0.4, 0.4), lighting=0.1)
    key, images = jax.random.key(5), jnp.asarray(noise(6))
    whole = jitted(key, images, augmentation)
    assert whole.dtype == np.uint8
    parts = [jitted(key, images[i : i + 2], augmentation, first=i) for i in (0, 2, 4)]
    np.testing.assert_array_equal(whole, jnp.concatenate(parts))
    grey = jitted(key, jnp.asarray(flat(90, 90, 90))[None], Augmentation(jitter=(0.4, 0.4, 0.4)))
    assert (np.ptp(np.asarray(grey), axis=-1) == 0).all()


def test_without_colours_crops_and_flips_are_what_they_were() -> None:
    images, key = jnp.asarray(noise(8)), jax.random.key(1)
    plain = jitted(key, images, Augmentation(crop_padding=1, flip=True))
    barely = jitted(key, images, Augmentation(crop_padding=1, flip=True, jitter=(0.0, 0.0, 1e-9)))
    np.testing.assert_array_equal(plain, barely)


@pytest.mark.parametrize("jitter", [(0.1, 0.1), (-0.1, 0.0, 0.0), (0.0, 1.1, 0.0), (float("nan"), 0.0, 0.0)])
def test_strengths_of_colours_out_of_range_are_refused(jitter: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"jitter is .*: allowed are three numbers in \[0, 1\]"):
        Augmentation(jitter=jitter)
    with pytest.raises(ValueError, match="lighting is -1"):
        Augmentation(lighting=-1)


@pytest.mark.parametrize(
    ("share", "places"),
    [(0.5, [0, 2, 4, 6, 8]), (0.1, [0]), (1 / 3, [0, 3, 6, 9]), (0.7, [0, 1, 2, 4, 5, 7, 8]), (0.05, [0])],
)
def test_a_share_of_the_places_is_chosen_evenly_spaced(share: float, places: list[int]) -> None:
    assert np.flatnonzero(is_chosen(jnp.arange(10), share)).tolist() == places


@pytest.mark.parametrize("share", [0.0, 0.1, 0.37, 1.0])
def test_of_the_first_places_of_a_large_batch_the_share_rounded_up_is_chosen(share: float) -> None:
    chosen = np.asarray(is_chosen(jnp.arange(5000), share))
    exact = -(-np.arange(1, 5001) * round(1000 * share) // 1000)
    np.testing.assert_array_equal(np.cumsum(chosen), exact)


def test_noise_is_gaussian_with_the_deviation_in_units_of_255_and_clipped() -> None:
    grey = jnp.full((200, 8, 8, 3), 128, jnp.uint8)
    noise_of = Augmentation(noise=0.1, noise_share=1.0)
    out = np.asarray(jitted(jax.random.key(1), grey, noise_of)).astype(float) - 128
    assert abs(out.mean()) < 5 * 25.5 / np.sqrt(out.size)
    np.testing.assert_allclose(out.std(), np.sqrt(25.5**2 + 1 / 12), rtol=5 / np.sqrt(2 * out.size))
    np.testing.assert_allclose((np.abs(out) < 25.5).mean(), 0.6827, atol=0.01)
    # Independent from pixel to pixel, channel to channel and image to image.
    for pair in ((out[:, :-1], out[:, 1:]), (out[..., :-1], out[..., 1:]), (out[:-1], out[1:])):
        assert abs(np.corrcoef(pair[0].ravel(), pair[1].ravel())[0, 1]) < 0.03
    black = np.asarray(jitted(jax.random.key(1), jnp.zeros((200, 8, 8, 3), jnp.uint8), noise_of))
    np.testing.assert_allclose(black, np.maximum(out, 0), atol=1)  # halves are rounded after the sum


def test_noise_of_a_split_batch_is_that_of_the_whole_on_the_same_crops() -> None:
    augmentation = Augmentation(crop_padding=2, flip=True, noise=0.1, noise_share=0.5)
    key, images = jax.random.key(5), jnp.asarray(noise(6))
    whole = jitted(key, images, augmentation)
    parts = [jitted(key, images[i : i + 2], augmentation, first=i) for i in (0, 2, 4)]
    np.testing.assert_array_equal(whole, jnp.concatenate(parts))
    plain = jitted(key, images, replace(augmentation, noise=0.0))
    np.testing.assert_array_equal(whole[1::2], plain[1::2])
    assert (np.asarray(whole[::2]) != np.asarray(plain[::2])).any((1, 2, 3)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise": -0.1}, "noise is -0.1: allowed is 0 or more"),
        ({"noise": float("nan")}, "noise is nan"),
        ({"noise_share": 1.5}, r"noise_share is 1.5: allowed is a number in \[0, 1\]"),
    ],
)
def test_noise_out_of_range_is_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation(**settings)  # type: ignore[arg-type]
