"""Attacks on any number of images, in batches of one size so that each attack is compiled once."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bnnjax.data.batches import evaluation_batches
from bnnjax.data.images import require_unit_floats
from bnnjax.robustness.attacks.best import Attacked

# (key, images, labels) -> result, for a batch.
Attack = Callable[[Array, Array, Array], Attacked]


def in_batches(attack: Attack, key: Array, images: np.ndarray, labels: np.ndarray, size: int) -> Attacked:
    """Returns the results of an attack on all images, in host memory.

    The last batch is padded with the first image, and the results for the padding are dropped.

    Args:
      attack: for a batch; its size, margins and losses are those of `Attacked`.
      key: each batch gets its own, derived from it.
      images: float32 [n, h, w, c] in [0, 1], n at least 1.
      labels: int [n].
      size: of a batch, at least 1.

    Raises:
      ValueError: if there are no images, one is not of such numbers, or the size is below 1.
    """
    if not len(images) or size < 1:
        raise ValueError(f"there must be an image and a batch size of 1 or more; got {len(images)}, {size}")
    require_unit_floats(images)
    parts = []
    for number, chosen in enumerate(evaluation_batches(len(images), size)):
        batch_key = jax.random.fold_in(key, number)
        found = attack(batch_key, jnp.asarray(images[chosen]), jnp.asarray(labels[chosen]))
        parts.append(jax.device_get(found))
    return jax.tree.map(lambda *each: np.concatenate(each)[: len(images)], *parts)
