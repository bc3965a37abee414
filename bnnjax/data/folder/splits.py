"""A user's pictures as the splits of a data set of small images."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np

from bnnjax.config.names import Fit
from bnnjax.data.dataset import DataError, Split, spread_over_classes, take
from bnnjax.data.folder.decode import decode_picture
from bnnjax.data.folder.sources import SPLITS, Picture
from bnnjax.data.streaming.order import epoch_order
from bnnjax.data.tfds import one_line

THREADS = os.cpu_count() or 1  # Pillow works outside of Python's lock
TEST_SHARE = 0.2


class Decoded(NamedTuple):
    """Pictures as pixels."""

    images: np.ndarray  # uint8 [n, size, size, c]; c is 1 if all are grey, else 3
    damaged: dict[int, str]  # what is wrong with those that cannot be read, by place


def decode_all(
    pictures: Sequence[Picture], size: int, fit: Fit, advance: Callable[[], object] = lambda: None
) -> Decoded:
    """Decodes pictures in threads.

    Args:
      pictures: in order.
      size: see `decode_picture`.
      fit: likewise.
      advance: called after each.
    """
    images = np.zeros((len(pictures), size, size, 3), np.uint8)
    damaged, is_grey = {}, True
    pool = ThreadPoolExecutor(THREADS)
    try:
        for place, found in enumerate(pool.map(partial(decoded_or_why_not, size, fit), pictures)):
            if isinstance(found, str):
                damaged[place] = found
            else:
                images[place] = found
                is_grey = is_grey and found.shape[-1] == 1
            advance()
    finally:
        pool.shutdown(cancel_futures=True)
    return Decoded(images[..., :1] if is_grey else images, damaged)


def decoded_or_why_not(size: int, fit: Fit, picture: Picture) -> np.ndarray | str:
    """Returns the pixels of a picture, or what is wrong with it."""
    try:
        return decode_picture(picture.path, size, fit)
    except Exception as error:  # any type: Pillow has a family of its own
        return one_line(error)


def split_pictures(
    pictures: Sequence[Picture],
    classes: Sequence[str],
    decoded: Decoded,
    test_share: float | None = None,
    seed: int = 0,
) -> dict[str, Split]:
    """Returns the splits train, test and, where some pictures are for it, validation, each in random order.

    Pictures that cannot be read are left out.

    Args:
      pictures: with the splits that they are for.
      classes: names in order.
      decoded: the pictures.
      test_share: of the training images, the same of every class, which become the test if no picture is
        for that; TEST_SHARE by default.
      seed: of the order, which decides what the test is made of.

    Raises:
      DataError: a class has no training image, a split that pictures are for has none, or `test_share` is
        given in spite of pictures for the test.
    """
    number = {name: label for label, name in enumerate(classes)}
    labels = np.array([number[picture.label] for picture in pictures], np.int32)
    whole = np.array([place not in decoded.damaged for place in range(len(pictures))])
    wanted = np.array([picture.split for picture in pictures])
    splits = {}
    for name in dict.fromkeys(SPLITS.values()):
        if name not in wanted:
            continue
        places = np.flatnonzero(whole & (wanted == name))
        if not len(places):
            raise DataError(f"no picture for the split {name} can be read.")
        places = places[epoch_order(seed, 0, len(places))]
        splits[name] = Split(decoded.images[places], labels[places])
    if "test" not in splits:
        train = splits["train"]
        examples = max(round((test_share or TEST_SHARE) * len(train.labels)), 1)
        is_test = spread_over_classes(train.labels, examples)
        splits |= {"train": take(train, ~is_test), "test": take(train, is_test)}
    elif test_share is not None:
        raise DataError("a test share is given, but there are pictures for the test.")
    counts = np.bincount(splits["train"].labels, minlength=len(classes))
    if not counts.all():
        raise DataError(f"the class {classes[int(np.argmin(counts))]} has no picture left for training.")
    return splits
