"""The corruptions of CIFAR-10-C: definitions, and independence of how images are batched."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.data.corruptions import CORRUPTIONS, compile_corruption, corrupt, corrupt_severities

KEY = jax.random.key(3)
GREY = np.full((40, 16, 16, 3), 128, np.uint8)
RANDOM = np.random.default_rng(0).integers(0, 256, (6, 9, 11, 3), dtype=np.uint8)


def noisy(images: np.ndarray, corruption: str, severity: int, **more: int) -> np.ndarray:
    return np.asarray(corrupt(KEY, images, corruption, severity, **more))


@pytest.mark.parametrize(("severity", "deviation"), [(1, 0.04), (3, 0.08), (5, 0.10)])
def test_gaussian_noise_has_its_deviation(severity: int, deviation: float) -> None:
    moved = noisy(GREY, "gaussian_noise", severity).astype(float) - 128
    assert moved.std() == pytest.approx(255 * deviation, rel=0.02)
    assert moved.mean() == pytest.approx(-0.5, abs=0.4)  # grey levels are cut, not rounded
    assert np.mean(moved**4) / np.mean(moved**2) ** 2 == pytest.approx(3, abs=0.15)


def test_gaussian_noise_is_cut_off_at_black_and_white() -> None:
    for level in (0, 255):
        found = noisy(np.full_like(GREY, level), "gaussian_noise", 5)
        assert np.mean(found == level) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(("severity", "share"), [(1, 0.01), (3, 0.03), (5, 0.07)])
def test_impulse_noise_hits_its_share_of_entries(severity: int, share: float) -> None:
    found = noisy(GREY, "impulse_noise", severity)
    assert set(np.unique(found)) == {0, 128, 255}
    assert np.mean(found != 128) == pytest.approx(share, rel=0.15)
    assert np.mean(found[found != 128] == 255) == pytest.approx(0.5, abs=0.08)
    hit = found != 128
    assert np.mean(hit.any(-1)) - np.mean(hit.all(-1)) > 0  # channels on their own


@pytest.mark.parametrize(("severity", "sigma"), [(1, 0.4), (3, 0.7), (5, 1.0)])
def test_gaussian_blur_is_the_sum_over_neighbours(severity: int, sigma: float) -> None:
    radius = int(4 * sigma + 0.5)
    weights = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(-radius, radius + 1)]
    expected = np.zeros(RANDOM.shape)
    for y in range(9):
        for x in range(11):
            for dy, wy in zip(range(-radius, radius + 1), weights, strict=True):
                for dx, wx in zip(range(-radius, radius + 1), weights, strict=True):
                    pixel = RANDOM[:, min(max(y + dy, 0), 8), min(max(x + dx, 0), 10)]
                    expected[:, y, x] += wy * wx * pixel / sum(weights) ** 2
    found = noisy(RANDOM, "gaussian_blur", severity).astype(int)
    assert np.abs(found - np.floor(expected)).max() <= 1
    assert np.mean(found == np.floor(expected)) > 0.99
    for level in range(256):
        flat = np.full((1, 8, 8, 1), level, np.uint8)
        np.testing.assert_array_equal(noisy(flat, "gaussian_blur", severity), flat)


# The slow ones take half of the time together, most of it to compile.
SLOW = {"elastic_transform", "fog", "frost", "glass_blur", "jpeg_compression", "snow"}


@pytest.mark.parametrize(
    "corruption", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in CORRUPTIONS]
)
def test_an_image_has_its_noise_wherever_the_batch_is_cut(corruption: str) -> None:
    whole = noisy(RANDOM, corruption, 4)
    parts = [noisy(RANDOM[:2], corruption, 4), noisy(RANDOM[2:], corruption, 4, first=2)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert whole.dtype == np.uint8
    assert not np.array_equal(whole, RANDOM)


@pytest.mark.parametrize("corruption", ["gaussian_noise", "impulse_noise"])
def test_images_and_keys_have_noise_of_their_own(corruption: str) -> None:
    found = noisy(GREY, corruption, 5)
    assert not np.array_equal(found[0], found[1])
    other = np.asarray(corrupt(jax.random.key(4), jnp.asarray(GREY), corruption, 5))
    assert not np.array_equal(found, other)


def test_unknown_names_and_severities_are_refused() -> None:
    with pytest.raises(
        ValueError, match="unknown corruption 'rain'; allowed are gaussian_noise, shot_noise, impulse"
    ):
        noisy(GREY, "rain", 1)
    with pytest.raises(ValueError, match="severity must be one of 1, 2, 3, 4, 5; got 6"):
        noisy(GREY, "gaussian_blur", 6)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (RANDOM[0], r"uint8 \[batch, h, w, c\]; got uint8 \[9, 11, 3\]"),
        (RANDOM[None], r"got uint8 \[1, 6, 9, 11, 3\]"),
        (RANDOM / 255, "got float64"),
        (RANDOM.astype(np.int32), "got int32"),
        (RANDOM.tolist(), "got a list"),
        (RANDOM[..., :2], r"must be \[batch, h, w, 1 or 3\].*; got \[6, 9, 11, 2\]"),
        (RANDOM[:, :3], "h and w at least 4"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(images: Any, message: str) -> None:
    for corruption in CORRUPTIONS:
        with pytest.raises(ValueError, match=message):
            corrupt(KEY, images, corruption, 3)


def test_what_is_compiled_ahead_is_what_is_called(caplog: pytest.LogCaptureFixture) -> None:
    """In a shape and with severities that no other test has."""
    images = np.zeros((2, 7, 10, 3), np.uint8)
    with jax.log_compiles():
        corrupt_severities(KEY, images, "brightness", (1,))  # what all corruptions share
        compile_corruption(images.shape, "contrast", (2, 5))
        assert "Finished XLA compilation of jit(_corrupted)" in caplog.text
        caplog.clear()
        for first in (0, 2):
            corrupt_severities(KEY, images, "contrast", (2, 5), first=first)
    assert "Finished XLA compilation" not in caplog.text
