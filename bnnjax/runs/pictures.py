"""What a network sees in picture files."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bnnjax.config.names import Fit
from bnnjax.data.folder.decode import decode_picture, with_channels
from bnnjax.data.streaming.decode import centre_crop
from bnnjax.data.tfds import one_line
from bnnjax.runs.inference import TrainedNetwork


class Answer(NamedTuple):
    """What a network sees in a picture."""

    picture: Path
    likeliest: dict[str, float]  # names of classes -> probabilities, the likeliest first


def read_pictures(network: TrainedNetwork, pictures: Sequence[Path], fit: Fit) -> np.ndarray:
    """Returns the pictures as the network takes them, uint8 [n, h, w, c].

    Args:
      network: for the size and the colours of its images.
      pictures: files.
      fit: how another form becomes a square; for ImageNet it is the middle, as in its test.

    Raises:
      ValueError: one of them cannot be read.
    """
    size, _, channels = network.image_shape
    images = []
    for picture in pictures:
        try:
            if network.dataset.name == "imagenet2012":
                images.append(centre_crop(picture.read_bytes(), size))
            else:
                images.append(with_channels(decode_picture(picture, size, fit), channels))
        except Exception as error:  # any type: Pillow has a family of its own
            raise ValueError(f"{picture} cannot be read: {one_line(error)}") from error
    return np.stack(images)


def answers(network: TrainedNetwork, pictures: Sequence[Path], images: np.ndarray, top: int) -> list[Answer]:
    """Returns the likeliest classes of each picture.

    Args:
      network: of a run.
      pictures: files.
      images: what they show, as `read_pictures` returns it.
      top: how many classes.
    """
    from scipy.special import softmax

    shares = softmax(network(images).astype(np.float64), axis=1)
    found = []
    for picture, share in zip(pictures, shares, strict=True):
        likeliest = np.argsort(-share, kind="stable")[:top]
        found.append(Answer(picture, {network.classes[c]: float(share[c]) for c in likeliest}))
    return found
