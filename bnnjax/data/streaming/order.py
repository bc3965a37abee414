"""Order and random crops of streamed images, as functions of seed, epoch, step and place in the batch.

Nothing of it is saved: the step alone tells where the stream is.  Random numbers come from Philox (Salmon et
al. 2011), a function of a key and a counter, which NumPy promises not to change.
"""

from collections.abc import Sequence

import numpy as np

ORDER, CROP = 0, 1  # purposes, whose random numbers are independent


def raw(seed: int, purpose: int, count: int, *counters: int) -> np.ndarray:
    """Returns uint64 [count], a function of all arguments; at most three counters."""
    key = [seed, purpose]
    counter = [0, *counters, *[0] * (3 - len(counters))]
    return np.random.Philox(key=key, counter=counter).random_raw(count)


def epoch_order(seed: int, epoch: int, examples: int) -> np.ndarray:
    """Returns the order of an epoch, a permutation, int32 [examples]."""
    return np.argsort(raw(seed, ORDER, examples, epoch), kind="stable").astype(np.int32)


def crop_uniforms(seed: int, epoch: int, step: int, place: int, count: int) -> Sequence[float]:
    """Returns numbers in [0, 1) for the crop of the image at a place in a step's global batch."""
    numbers = raw(seed, CROP, count, place, step, epoch) >> np.uint64(11)
    return (numbers * 2.0**-53).tolist()
