"""A picture of any format becomes pixels of one size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bnnjax.data.folder.decode import decode_picture

WIDE = np.zeros((8, 16, 3), np.uint8)  # left half red, right half blue, a green edge at both ends
WIDE[:, :8, 0] = WIDE[:, 8:, 2] = 200
WIDE[:, [0, 1, 14, 15]] = (0, 200, 0)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    def save(image: Any, name: str = "picture.png", **options: Any) -> Path:
        picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
        picture.save(tmp_path / name, **options)
        return tmp_path / name

    return save


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_a_picture_of_the_right_size_is_unchanged(saved: Callable[..., Path]) -> None:
    for pixels in (noise(8, 8, 3), noise(8, 8)):
        for fit in ("crop", "pad", "stretch"):
            found = decode_picture(saved(pixels), 8, fit)  # type: ignore[arg-type]
            np.testing.assert_array_equal(found, pixels.reshape(8, 8, -1))
            assert found.dtype == np.uint8


def test_the_middle_of_a_wide_picture_is_taken_or_all_of_it(saved: Callable[..., Path]) -> None:
    path = saved(WIDE)
    np.testing.assert_array_equal(decode_picture(path, 8, "crop"), WIDE[:, 4:12])
    padded = decode_picture(path, 16, "pad")
    np.testing.assert_array_equal(padded[4:12], WIDE)
    assert not padded[:4].any()
    assert not padded[12:].any()
    stretched = decode_picture(path, 8, "stretch")
    assert stretched[3, 2].argmax() == 0
    assert stretched[3, 5].argmax() == 2
    assert (stretched[:, [0, 7]].argmax(axis=-1) == 1).all()


@pytest.mark.parametrize(
    "name", ["p.jpg", "p.png", "p.bmp", "p.gif", "p.webp", "p.tiff", "p.ppm", "nosuffix"]
)
def test_every_format_is_read(saved: Callable[..., Path], name: str) -> None:
    colour = np.full((20, 30, 3), (200, 100, 50), np.uint8)
    found = decode_picture(saved(colour, name, format=None if "." in name else "PNG"), 16, "crop")
    assert found.shape == (16, 16, 3)
    assert np.abs(found.astype(int) - colour[:16, :16]).max() <= 3


def test_a_large_picture_is_scaled_down_by_averaging(saved: Callable[..., Path]) -> None:
    board = np.uint8(255) * (np.indices((64, 64)).sum(axis=0) % 2).astype(
        np.uint8
    )  # each pixel other than its neighbours
    found = decode_picture(saved(board), 8, "crop")
    assert found.shape == (8, 8, 1)
    assert np.abs(found.astype(int) - 127.5).max() < 8


def test_grey_pictures_have_one_channel(saved: Callable[..., Path]) -> None:
    grey = noise(8, 8)
    half = Image.fromarray(grey).point(lambda level: 255 * (level > 127)).convert("1")
    np.testing.assert_array_equal(decode_picture(saved(half), 8, "crop")[..., 0], 255 * (grey > 127))
    np.testing.assert_array_equal(
        decode_picture(saved(grey, "p.jpg", quality=100), 8, "crop").shape, (8, 8, 1)
    )
    deep = grey.astype(np.uint16) * 256 + 7
    np.testing.assert_array_equal(decode_picture(saved(deep), 8, "crop")[..., 0], grey)
    np.testing.assert_array_equal(decode_picture(saved(deep, "p.tiff"), 8, "crop")[..., 0], grey)


def test_colours_of_other_kinds_become_rgb(saved: Callable[..., Path]) -> None:
    colour = Image.new("RGB", (8, 8), (0, 0, 255))
    for picture, name in ((colour.convert("P"), "p.png"), (colour.convert("CMYK"), "p.jpg")):
        found = decode_picture(saved(picture, name), 8, "crop")
        assert found.shape == (8, 8, 3)
        assert np.abs(found.astype(int) - (0, 0, 255)).max() <= 3


def test_what_is_transparent_is_white(saved: Callable[..., Path]) -> None:
    colour = np.full((8, 8, 4), (10, 20, 30, 255), np.uint8)
    colour[:4, :, 3] = 0
    found = decode_picture(saved(colour), 8, "crop")
    assert (found[:4] == 255).all()
    assert (found[4:] == (10, 20, 30)).all()
    found = decode_picture(saved(np.stack([colour[..., 0], colour[..., 3]], axis=-1)), 8, "crop")
    assert found.shape == (8, 8, 1)
    assert (found[:4] == 255).all()
    assert (found[4:] == 10).all()
    marked = Image.fromarray(np.tile(np.uint8([0, 9]), (8, 4)))
    found = decode_picture(saved(marked, transparency=0), 8, "crop")
    assert (found[..., 0] == np.tile([255, 9], (8, 4))).all()


def test_pictures_are_turned_as_their_camera_says(saved: Callable[..., Path]) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # the top is at the right
    pixels = noise(8, 8, 3)
    found = decode_picture(saved(pixels, exif=turned), 8, "crop")
    np.testing.assert_array_equal(found, np.rot90(pixels, -1))


def test_the_first_of_several_pictures_is_taken(saved: Callable[..., Path]) -> None:
    first, second = (Image.new("L", (8, 8), level) for level in (40, 90))
    assert (
        decode_picture(saved(first, "p.tiff", save_all=True, append_images=[second]), 8, "crop") == 40
    ).all()


def test_pixels_of_unknown_range_are_refused(saved: Callable[..., Path]) -> None:
    for pixels in (np.zeros((8, 8), np.float32), np.zeros((8, 8), np.int32)):
        with pytest.raises(ValueError, match="its pixels have 32 bits"):
            decode_picture(saved(pixels, "p.tiff"), 8, "crop")
