"""One picture of any size and format as pixels of one size, grey or in colours."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bnnjax.config.names import Fit

if TYPE_CHECKING:
    from PIL import Image

GREY = ("1", "L", "LA", "La")  # modes of Pillow
SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
UNKNOWN_RANGE = ("I", "F")


def decode_picture(path: Path, size: int, fit: Fit) -> np.ndarray:
    """Returns the pixels of a picture: uint8 [size, size, 1] if it is stored as grey, else [size, size, 3].

    It is turned upright as its camera says; transparent parts are white; of several pictures in one file the
    first is taken.

    Args:
      path: of the file.
      size: height and width of the result.
      fit: how another form becomes a square: its middle alone, all of it with black borders, or distorted.

    Raises:
      ValueError: its pixels have no known range.
      Exception: Pillow's own kinds, for what is damaged or no picture.
    """
    from PIL import Image, ImageOps

    with Image.open(path) as stored:
        plain = in_8_bits(ImageOps.exif_transpose(stored))
    shapes: Mapping[Fit, Callable[..., Image.Image]] = {
        "crop": ImageOps.fit,
        "pad": ImageOps.pad,
        "stretch": Image.Image.resize,
    }
    pixels = np.asarray(shapes[fit](plain, (size, size), Image.Resampling.BICUBIC))
    return pixels.reshape(size, size, -1)


def with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Returns pixels [h, w, 1 or 3], uint8, with 1 or 3 channels: colours as their luma, grey three times."""
    from PIL import Image

    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1)
    return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]


def in_8_bits(image: "Image.Image") -> "Image.Image":
    """Returns a picture in mode L, if it is grey, or RGB, with what is transparent on white.

    Raises:
      ValueError: its pixels have 32 bits, of which no range is known.
    """
    from PIL import Image

    if image.mode in UNKNOWN_RANGE:
        raise ValueError(f"its pixels have 32 bits (mode {image.mode}), whose range is not known")
    if image.mode in SIXTEEN_BITS:
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    mode = "L" if image.mode in GREY else "RGB"
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image if image.mode == mode else image.convert(mode)
