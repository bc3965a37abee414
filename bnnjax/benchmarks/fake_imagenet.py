"""A fake ImageNet for tests and benchmarks: synthetic photographs in the official layout."""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bnnjax.data.imagenet.sources import TRAIN_TAR, VALIDATION_TAR, Labels

QUALITY = 92  # gives files of about 110 KB at 500x375, as in ImageNet
SIZES = ((500, 375), (500, 333), (375, 500), (500, 500), (640, 480))  # width and height


def photograph(seed: int, label: int, size: tuple[int, int]) -> Image.Image:
    """Returns an image of coloured noise at all scales, over a gradient whose direction shows the class.

    Like a photograph it has most of its power at low frequencies, so its JPEG has a realistic size.

    Args:
      seed: of the noise.
      label: of the class.
      size: (width, height).
    """
    random = np.random.default_rng((seed, label))
    pixels = np.zeros((size[1], size[0], 3), np.float32)
    for scale in (2, 4, 8, 16, 32, 64, 128, 256, 512):
        shape = tuple(max(-(-side * scale // 512), 2) for side in size[::-1])
        noise = Image.fromarray(random.integers(0, 256, (*shape, 3), dtype=np.uint8))
        pixels += (np.asarray(noise.resize(size, Image.Resampling.BICUBIC), np.float32) - 128) / scale**0.3
    angle = 2 * np.pi * label / 10
    y, x = np.meshgrid(np.linspace(-1, 1, size[1]), np.linspace(-1, 1, size[0]), indexing="ij")
    gradient = 70 * (np.cos(angle) * x + np.sin(angle) * y)
    hue = 40 * np.cos(angle + np.array([0, 2, 4]) * np.pi / 3)
    return Image.fromarray(np.clip(128 + pixels + gradient[..., None] + hue, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", mode: str = "RGB") -> bytes:
    """Returns an image as the bytes of a file."""
    file = io.BytesIO()
    image.convert(mode).save(file, kind, quality=QUALITY)
    return file.getvalue()


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Adds a file to a tar file."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def write_official(
    place: Path,
    labels: Labels,
    train: int,
    validation: int,
    sizes: Sequence[tuple[int, int]] = SIZES,
) -> None:
    """Writes both tar files, with the oddities of the real ones: a grey image, a CMYK one, a PNG called JPEG.

    Args:
      place: the directory.
      labels: their synsets get images; validation images have official names of their synsets.
      train: images of each synset.
      validation: images of each synset, at most 50.
      sizes: of the images, in turn.
    """
    odd = {1: ("JPEG", "CMYK"), 2: ("PNG", "RGB"), 3: ("JPEG", "L")}
    with tarfile.open(place / TRAIN_TAR, "w") as outer:
        for label, synset in enumerate(labels.synsets):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as tar:
                for number in range(train):
                    image = photograph(number, label, sizes[number % len(sizes)])
                    kind = odd.get(number, ("JPEG", "RGB")) if label == 0 else ("JPEG", "RGB")
                    add(tar, f"{synset}_{number}.JPEG", encoded(image, *kind))
            add(outer, f"{synset}.tar", inner.getvalue())
    left = dict.fromkeys(labels.synsets, validation)
    with tarfile.open(place / VALIDATION_TAR, "w") as tar:
        for number, synset in enumerate(labels.validation):
            if left.get(synset):
                left[synset] -= 1
                image = photograph(10**6 + number, labels.synsets.index(synset), sizes[number % len(sizes)])
                add(tar, f"ILSVRC2012_val_{number + 1:08d}.JPEG", encoded(image))
