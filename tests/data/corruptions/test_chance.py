"""Random corruptions: parts against other libraries with the same numbers, and distributions."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.ndimage import map_coordinates
from skimage.filters import gaussian

from bnnjax.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt, corrupt_severities, weather
from bnnjax.data.corruptions.blur import glass_sources, streak
from bnnjax.data.corruptions.digital import affine, displaced
from bnnjax.data.corruptions.spatter import canny, distance, equalized, relief, whole_means
from bnnjax.data.corruptions.weather import ice, plasma

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.uniform(0, 255, (32, 32, 3)).astype(np.float32)


@pytest.mark.parametrize("reach", [1, 2, 4])
def test_glass_is_the_published_loop(reach):
    height, width = 20, 17
    offsets = RANDOM.integers(-reach, reach, (height, width, 2))
    x = np.arange(height * width * 2).reshape(height, width, 2)  # an array of pixels, as the script has it
    expected = x.copy()
    for h in range(height - reach, reach, -1):
        for w in range(width - reach, reach, -1):
            dx, dy = offsets[h, w]
            a, b = (h, w), (h + dy, w + dx)
            expected[a], expected[b] = expected[b], expected[a]
    sources = np.asarray(jax.jit(glass_sources, static_argnums=1)(jnp.asarray(offsets), reach))
    np.testing.assert_array_equal(x.reshape(-1, 2)[sources].reshape(x.shape), expected)
    assert len(np.unique(sources)) < height * width  # not a permutation: one of two is overwritten


@pytest.mark.parametrize("angle", [-45.0, 0.0, 17.0, -90.0, -120.0])
def test_streak_is_imagemagicks_sum(angle):
    radius, deviation = 4, 2.0
    kernel = np.exp(-(np.arange(9) ** 2) / (2 * deviation**2))
    kernel /= kernel.sum()
    expected = np.zeros_like(IMAGE)
    for i, weight in enumerate(kernel):
        down = int(np.ceil(i * np.sin(np.radians(angle)) - 0.5 - 1e-9))
        right = int(np.ceil(i * np.cos(np.radians(angle)) - 0.5 - 1e-9))
        for r in range(32):
            for q in range(32):
                expected[r, q] += weight * IMAGE[np.clip(r + down, 0, 31), np.clip(q + right, 0, 31)]
    np.testing.assert_allclose(streak(IMAGE, jnp.float32(angle), radius, deviation), expected, atol=1e-3)


def test_plasma_is_the_published_diamond_square(monkeypatch):
    def numbers(shape):
        return np.random.default_rng(shape[0]).uniform(-1, 1, shape)

    size, decay = 16, 2.0
    height = np.zeros((size, size))
    step, wobble = size, 100.0
    while step >= 2:
        half = step // 2
        wobbled = lambda total: total / 4 + wobble**2 * numbers(total.shape)  # noqa: B023, E731
        corners = height[0:size:step, 0:size:step]
        squares = corners + np.roll(corners, -1, axis=0)
        squares = squares + np.roll(squares, -1, axis=1)
        height[half:size:step, half:size:step] = wobbled(squares)
        centers = height[half:size:step, half:size:step]
        left = centers + np.roll(centers, 1, axis=0) + corners + np.roll(corners, -1, axis=1)
        height[0:size:step, half:size:step] = wobbled(left)
        above = centers + np.roll(centers, 1, axis=1) + corners + np.roll(corners, -1, axis=0)
        height[half:size:step, 0:size:step] = wobbled(above)
        step, wobble = half, wobble / decay
    expected = (height - height.min()) / np.ptp(height)
    monkeypatch.setattr(
        weather.jax.random, "uniform", lambda key, shape, minval: jnp.asarray(numbers(shape), jnp.float32)
    )
    np.testing.assert_allclose(plasma(jax.random.key(0), size, decay), expected, atol=1e-5)


def test_affine_is_opencvs_map():
    shifts = RANDOM.uniform(-2.5, 2.5, (3, 2)).astype(np.float32)
    before = np.float32([[26, 26], [26, 6], [6, 6]])
    matrix = cv2.getAffineTransform(before, before + shifts)
    # Whole coordinates of 1/32 pixel in OpenCV; interpolated exactly by SciPy instead.
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    q, r = np.meshgrid(np.arange(32), np.arange(32))
    x, y = (back[n, 0] * q + back[n, 1] * r + back[n, 2] for n in (0, 1))
    expected = np.stack([map_coordinates(IMAGE[..., c], [y, x], order=1, mode="mirror") for c in range(3)], 2)
    np.testing.assert_allclose(affine(IMAGE, shifts), expected, atol=0.05)
    warped = cv2.warpAffine(IMAGE, matrix, (32, 32), borderMode=cv2.BORDER_REFLECT_101)
    assert np.abs(affine(IMAGE, shifts) - warped).mean() < 3


def test_displacement_is_scipys():
    uniform = RANDOM.uniform(-1, 1, (2, 32, 32)).astype(np.float32)
    right, down = (4 * gaussian(part, 1.5, mode="reflect", truncate=3) for part in uniform)
    q, r = np.meshgrid(np.arange(32), np.arange(32))
    expected = np.stack(
        [map_coordinates(IMAGE[..., c], [r + down, q + right], order=1, mode="reflect") for c in range(3)], 2
    )
    np.testing.assert_allclose(displaced(IMAGE, uniform, 1.5, 4.0), expected, atol=0.02)


def drops(seed):
    noise = gaussian(np.random.default_rng(seed).normal(0.65, 0.3, (32, 32)), sigma=1)
    return np.where(noise < 0.69, 0, np.floor(np.clip(noise, 0, 1) * 255)).astype(np.uint8)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_relief_of_drops_is_opencvs(seed):
    liquid = drops(seed)
    edges = cv2.Canny(liquid, 50, 150) > 0
    np.testing.assert_array_equal(canny(jnp.asarray(liquid, jnp.float32), 50, 150), edges)
    far = np.minimum(cv2.distanceTransform((255 * ~edges).astype(np.uint8), cv2.DIST_L2, 5), 20)
    np.testing.assert_allclose(distance(jnp.asarray(edges)), far, atol=2e-3)
    rounded = cv2.blur(far, (3, 3)).astype(np.uint8)
    # OpenCV's lengths have a relative error of 5e-6 in some builds.
    assert np.mean(np.asarray(whole_means(jnp.asarray(far))) != rounded) < 0.002
    flat = cv2.equalizeHist(rounded)
    np.testing.assert_array_equal(equalized(jnp.asarray(rounded, jnp.float32)), flat)
    lit = cv2.filter2D(flat, cv2.CV_8U, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]))
    found = np.asarray(relief(jnp.asarray(rounded, jnp.float32)))
    assert np.abs(found - cv2.blur(lit, (3, 3))).max() <= 1


def test_equalizing_one_level_changes_nothing():
    np.testing.assert_array_equal(equalized(jnp.full((8, 8), 17.0)), np.full((8, 8), 17.0))


@pytest.mark.parametrize("severity", [1, 5])
def test_shot_noise_has_poissons_law(severity):
    photons = CORRUPTIONS["shot_noise"].imagenetc[severity - 1][0]
    for level in (0, 3, 128, 255):
        images = np.full((60, 16, 16, 1), level, np.uint8)
        found = np.asarray(corrupt(jax.random.key(level), images, "shot_noise", severity, values="imagenetc"))
        law = stats.poisson(photons * level / 255)
        counts = np.arange(int(law.ppf(1 - 1e-9)) + 1)
        levels = np.minimum(np.floor(counts * 255 / photons + 1e-3), 255).astype(int)
        expected = np.bincount(levels, law.pmf(counts), minlength=256)
        seen = np.bincount(found.reshape(-1), minlength=256) / found.size
        assert np.abs(np.cumsum(seen) - np.cumsum(expected)).max() < 1.9 / np.sqrt(found.size)


def test_speckle_grows_with_brightness():
    def spread(level):
        images = np.full((40, 16, 16, 1), level, np.uint8)
        return np.asarray(corrupt(jax.random.key(0), images, "speckle_noise", 3)).astype(float).std()

    assert spread(0) == 0
    assert spread(200) == pytest.approx(200 * 0.12, rel=0.15)  # some are cut off at white
    assert spread(50) == pytest.approx(50 * 0.12, rel=0.05)


# The published generator's frost on images of level 128, means over 20,000 images of 32x32 (cifar10c) and 400
# of 224x224 (imagenetc): level, difference of neighbours, deviation within an image.
FROST = {
    ("cifar10c", 1): (160.0, 3.83, 5.78),
    ("cifar10c", 2): (176.0, 5.77, 8.70),
    ("cifar10c", 3): (179.6, 7.64, 11.52),
    ("cifar10c", 4): (173.2, 7.68, 11.54),
    ("cifar10c", 5): (168.5, 8.63, 12.95),
    ("imagenetc", 5): (199.2, 8.80, 21.71),
}


@pytest.mark.parametrize("values", ["cifar10c", pytest.param("imagenetc", marks=pytest.mark.slow)])
def test_frost_has_the_level_sharpness_and_contrast_of_the_published(values):
    number, side, tolerance = (1200, 32, 0.05) if values == "cifar10c" else (24, 224, 0.2)
    severities = tuple(severity for name, severity in FROST if name == values)
    images = np.full((number, side, side, 3), 128, np.uint8)
    for severity, noisy in zip(
        severities, corrupt_severities(jax.random.key(0), images, "frost", severities), strict=True
    ):
        found = np.asarray(noisy).astype(np.float32)
        steps = (np.abs(np.diff(found, axis=1)).mean() + np.abs(np.diff(found, axis=2)).mean()) / 2
        level, sharpness, contrast = FROST[values, severity]
        assert found.mean() == pytest.approx(level, rel=tolerance / 3)
        assert steps == pytest.approx(sharpness, rel=tolerance)
        assert found.std((1, 2, 3)).mean() == pytest.approx(contrast, rel=tolerance)


@pytest.mark.slow
def test_ice_varies_with_the_distance_as_the_photographs_do():
    """Half the mean squared difference of grey levels, measured in crops of the five scaled to a fifth."""
    found = np.asarray(
        jax.jit(jax.vmap(lambda key: ice(key, (32, 32))))(jax.random.split(jax.random.key(0), 1200))
    )
    grey = found.mean(3)
    for apart, expected in {1: 367.3, 2: 424.4, 4: 460.4, 8: 492.8, 16: 543.8}.items():
        down, right = grey[:, apart:] - grey[:, :-apart], grey[:, :, apart:] - grey[:, :, :-apart]
        assert (np.mean(down**2) + np.mean(right**2)) / 4 == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    "corruption", ["snow", "fog", "frost", "spatter", "motion_blur", "elastic_transform"]
)
def test_colorless_images_stay_so_in_one_channel(corruption):
    images = RANDOM.integers(0, 256, (2, 16, 16, 1), dtype=np.uint8)
    found = np.asarray(corrupt(jax.random.key(0), images, corruption, 4))
    assert found.shape == images.shape
    assert not np.array_equal(found, images)


@pytest.mark.parametrize(
    "corruption",
    [
        "gaussian_noise",
        "shot_noise",
        "impulse_noise",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("fog", "frost", "contrast")),
    ],
)
def test_severities_grow(corruption):
    images = RANDOM.integers(60, 190, (8, 32, 32, 3), dtype=np.uint8)
    noisy = np.asarray(corrupt_severities(jax.random.key(0), images, corruption, SEVERITIES)).astype(float)
    if corruption == "frost":  # takes more of the image away
        error = [1 - np.corrcoef(images.ravel(), part.ravel())[0, 1] for part in noisy]
    else:
        error = [np.abs(part - images).mean() for part in noisy]
    assert error == sorted(error)
    assert error[0] > 0
