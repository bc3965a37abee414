"""Crops of images whose pixels encode their position."""

import io
import math

import cv2
import numpy as np
import pytest
from PIL import Image

from bnnjax.data.streaming.decode import UNIFORMS, Box, centre_crop, random_box, random_crop


def ramp(width: int, height: int) -> np.ndarray:
    """Red encodes the column, green the row: 0 at one edge, 255 at the other."""
    image = np.full((height, width, 3), 128, np.uint8)
    image[..., 0] = np.round(255 * (np.arange(width) + 0.5) / width)
    image[..., 1] = np.round(255 * (np.arange(height) + 0.5) / height)[:, None]
    return image


def encoded(pixels: np.ndarray, kind: str = "JPEG", mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, quality=95, subsampling=0)
    return file.getvalue()


def draws(seed: int) -> list[float]:
    return np.random.default_rng(seed).random(UNIFORMS).tolist()


def test_boxes_lie_in_the_image_and_have_the_areas_and_aspects_that_are_allowed() -> None:
    boxes = [random_box(draws(seed), 500, 375) for seed in range(4000)]
    for box in boxes:
        assert box.left >= 0
        assert box.top >= 0
        assert box.left + box.width <= 500
        assert box.top + box.height <= 375
    areas = np.array([box.width * box.height for box in boxes]) / (500 * 375)
    aspects = np.array([box.width / box.height for box in boxes])
    assert 0.079 < areas.min() < 0.09
    assert 0.9 < areas.max() <= 1
    assert 0.745 < aspects.min() < 0.76
    assert 1.32 < aspects.max() < 1.345
    # Places are uniform: the mean of where a box lies, between its outermost places, is one half.
    slack = [(box.left, 500 - box.width) for box in boxes if box.width < 480]
    assert abs(np.mean([left / most for left, most in slack]) - 0.5) < 0.02


def test_the_first_attempt_that_fits_counts() -> None:
    # Area 1 with aspect 1 does not fit into 400 x 100; 0.2 does.
    fails, fits = [1 - 1e-9, 0.5, 0.0, 0.0], [(0.2 - 0.08) / 0.92, 0.5, 0.25, 0.5]
    box = random_box([*fails, *fits, *[0.0] * (UNIFORMS - 8)], 400, 100)
    side = round(math.sqrt(0.2 * 400 * 100))
    assert box == Box(int(0.25 * (400 - side + 1)), int(0.5 * (100 - side + 1)), side, side)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((900, 90), (390, 0, 120, 90)), ((90, 900), (0, 390, 90, 120)), ((9, 900), (0, 444, 9, 12))],
)
def test_where_nothing_fits_it_is_the_centre_of_an_allowed_aspect(
    size: tuple[int, int], expected: tuple[int, int, int, int]
) -> None:
    largest = [1 - 1e-9, 0.5, 0.0, 0.0] * (UNIFORMS // 4)
    assert random_box(largest, *size) == expected


def positions(first: float, length: float, whole: int, size: int) -> np.ndarray:
    """The ramp's value at the centre of each of `size` pixels that share [first, first + length] of it."""
    return 255 * (first + (np.arange(size) + 0.5) * length / size) / whole


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("width", "height", "size"), [(500, 375, 224), (375, 500, 64), (1600, 1200, 32)])
def test_a_random_crop_is_the_box_that_was_drawn_whatever_the_scale_of_decoding(
    seed: int, width: int, height: int, size: int
) -> None:
    box = random_box(draws(seed), width, height)
    crop = random_crop(encoded(ramp(width, height)), draws(seed), size).astype(float)
    assert crop.shape == (size, size, 3)
    columns, rows = (
        positions(box.left, box.width, width, size),
        positions(box.top, box.height, height, size),
    )
    # Within three grey levels, which are a few of the image's own pixels.
    assert np.abs(crop[..., 0] - columns).max() < 3.5
    assert np.abs(crop[..., 1] - rows[:, None]).max() < 3.5


def test_jpegs_are_decoded_smaller_only_while_the_crop_has_enough_pixels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoded, cropped = [], []
    decode, resize = cv2.imdecode, cv2.resize

    def decoding(*arguments: object) -> np.ndarray:
        decoded.append(decode(*arguments))
        return decoded[-1]

    def resizing(crop: np.ndarray, *arguments: object, **more: object) -> np.ndarray:
        cropped.append(crop.shape)
        return resize(crop, *arguments, **more)

    monkeypatch.setattr(cv2, "imdecode", decoding)
    monkeypatch.setattr(cv2, "resize", resizing)
    data = encoded(ramp(720, 540))
    for seed in range(30):
        random_crop(data, draws(seed), 64)
    scales = [720 // image.shape[1] for image in decoded]
    assert set(scales) >= {2, 4}
    for scale, (height, width, _) in zip(scales, cropped, strict=True):
        assert min(height, width) >= 64
        # At half of that size the crop would have had too few.
        assert min(height, width) <= 2 * 64 or scale == 8


@pytest.mark.parametrize(("width", "height"), [(500, 375), (375, 500), (256, 256), (60, 300), (301, 299)])
@pytest.mark.parametrize("size", [224, 28])
def test_the_centre_crop_is_the_centre_at_256_to_224(width: int, height: int, size: int) -> None:
    crop = centre_crop(encoded(ramp(width, height), "PNG"), size).astype(float)
    assert crop.shape == (size, size, 3)
    side = min(width, height) * size / round(size * 256 / 224)
    columns = positions((width - side) / 2, side, width, size)
    rows = positions((height - side) / 2, side, height, size)
    step = 255 * side / size / min(width, height)  # of a pixel of the result; the centre may lie between two
    assert np.abs(crop[..., 0] - columns).max() < step + 1
    assert np.abs(crop[..., 1] - rows[:, None]).max() < step + 1


@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "P"), ("PNG", "RGBA")])
def test_any_image_becomes_rgb(kind: str, mode: str) -> None:
    pixels = ramp(120, 90)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind)
    wanted = centre_crop(encoded(pixels, "PNG"), 64).astype(int)
    for crop in (centre_crop(file.getvalue(), 64), random_crop(file.getvalue(), draws(0), 64)):
        assert crop.dtype == np.uint8
        assert crop.shape == (64, 64, 3)
    if mode != "P":  # a palette has few colours
        assert np.abs(centre_crop(file.getvalue(), 64).astype(int) - wanted).mean() < 3


def test_grey_images_have_three_equal_channels() -> None:
    crop = random_crop(encoded(ramp(120, 90), mode="L"), draws(1), 32)
    assert (crop == crop[..., :1]).all()


def test_a_cut_off_image_is_an_error() -> None:
    data = encoded(ramp(300, 200))[:2000]
    with pytest.raises(OSError, match="truncated"):
        centre_crop(data, 64)
    with pytest.raises(OSError, match="truncated"):
        random_crop(data, draws(0), 64)
