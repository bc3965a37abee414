"""Deterministic corruptions agree with the published definitions in the original libraries."""

import io

import cv2
import jax
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import zoom as scipy_zoom
from skimage.color import hsv2rgb, rgb2hsv
from skimage.filters import gaussian

from bnnjax.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt_severities
from bnnjax.data.corruptions.jpeg import transform_matrix

RANDOM = np.random.default_rng(0)
# Smooth, rough, grey, black and saturated images.
SMOOTH = np.clip(np.cumsum(np.cumsum(RANDOM.normal(size=(2, 32, 32, 3)), 1), 2) * 6 + 128, 0, 255).astype(
    np.uint8
)
GREY = np.repeat(RANDOM.integers(0, 256, (1, 32, 32, 1), dtype=np.uint8), 3, axis=3)
IMAGES = np.concatenate([SMOOTH, RANDOM.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8), GREY, 0 * GREY])


def lens(radius, smoothing):
    reach, size = (8, 3) if radius <= 8 else (radius, 5)
    x, y = np.meshgrid(np.arange(-reach, reach + 1), np.arange(-reach, reach + 1))
    disk = np.array(x**2 + y**2 <= radius**2, np.float32)
    return cv2.GaussianBlur(disk / disk.sum(), ksize=(size, size), sigmaX=smoothing)


def defocus_blur(image, radius, smoothing):
    channels = [cv2.filter2D(image[..., c] / 255.0, -1, lens(radius, smoothing)) for c in range(3)]
    return 255 * np.clip(np.stack(channels, axis=2), 0, 1)


def gaussian_blur(image, deviation):
    return 255 * np.clip(gaussian(image / 255.0, sigma=deviation, channel_axis=-1), 0, 1)


def enlarged(image, factor):
    size = len(image)
    kept = int(np.ceil(size / factor))
    top = (size - kept) // 2
    whole = scipy_zoom(image[top : top + kept, top : top + kept], (factor, factor, 1), order=1)
    trim = (len(whole) - size) // 2
    return whole[trim : trim + size, trim : trim + size]


def zoom_blur(image, largest, step):
    x = image / 255.0
    all_zooms = [x, *(enlarged(x, factor) for factor in np.arange(1, largest, step))]
    return 255 * np.mean(all_zooms, axis=0)


def contrast(image, factor):
    x = image / 255.0
    return 255 * np.clip((x - x.mean((0, 1))) * factor + x.mean((0, 1)), 0, 1)


def brightness(image, lift):
    hsv = rgb2hsv(image / 255.0)
    hsv[..., 2] = np.clip(hsv[..., 2] + lift, 0, 1)
    return 255 * np.clip(hsv2rgb(hsv), 0, 1)


def saturate(image, factor, shift):
    hsv = rgb2hsv(image / 255.0)
    hsv[..., 1] = np.clip(hsv[..., 1] * factor + shift, 0, 1)
    return 255 * np.clip(hsv2rgb(hsv), 0, 1)


def pixelate(image, factor):
    height, width, _ = image.shape
    small = Image.fromarray(image).resize((int(width * factor), int(height * factor)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BOX))


def jpeg_compression(image, quality):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


# The share of entries that may be a level off: what lies within rounding of a whole level is cut either way.
ORACLES = {
    defocus_blur: 0.15, gaussian_blur: 0.02, zoom_blur: 0.02, contrast: 0.05, brightness: 0.1, saturate: 0.1,
    pixelate: 0.0, jpeg_compression: 0.002,
}  # fmt: skip


@pytest.mark.parametrize("oracle", ORACLES, ids=lambda oracle: oracle.__name__)
@pytest.mark.parametrize("values", ["cifar10c", "imagenetc"])
def test_agrees_with_the_published_definition(oracle, values):
    name = oracle.__name__
    found = corrupt_severities(jax.random.key(0), IMAGES, name, SEVERITIES, values=values)
    for place, settings in enumerate(getattr(CORRUPTIONS[name], values)):
        expected = np.stack([np.uint8(oracle(image, *settings)) for image in IMAGES])
        off = np.abs(np.asarray(found[place]).astype(int) - expected)
        assert np.mean(off > 1) == 0, (settings, off.max())
        assert np.mean(off > 0) <= ORACLES[oracle], settings


@pytest.mark.parametrize("shape", [(17, 9), (8, 8), (40, 33)])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_of_sizes_that_are_no_whole_blocks(shape, channels):
    height, width = shape
    smooth = np.clip(np.cumsum(RANDOM.normal(size=(height, width, channels)), 1) * 20 + 128, 0, 255)
    image = smooth.astype(np.uint8)
    found = corrupt_severities(jax.random.key(0), image[None], "jpeg_compression", (1, 5))
    for place, quality in enumerate((80, 40)):
        expected = jpeg_compression(image if channels == 3 else image[..., 0], quality).reshape(image.shape)
        off = np.abs(np.asarray(found[place, 0]).astype(int) - expected)
        assert off.max() <= 1
        assert np.mean(off > 0) < 0.01


def test_the_integer_transform_is_the_cosine_transform():
    waves = np.cos(np.pi / 8 * np.arange(8)[:, None] * (np.arange(8) + 0.5))
    waves[0] /= np.sqrt(2)
    np.testing.assert_allclose(transform_matrix() / 2**13, np.sqrt(2) * waves, atol=3e-4)
    assert transform_matrix().dtype == np.int32


def test_a_severity_is_the_same_alone_and_among_others():
    images = RANDOM.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    together = np.asarray(corrupt_severities(jax.random.key(5), images, "snow", (2, 4)))
    alone = np.asarray(corrupt_severities(jax.random.key(5), images, "snow", (4,)))
    np.testing.assert_array_equal(together[1], alone[0])
