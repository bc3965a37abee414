"""The result of an attack: for each image the point with the smallest margin."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.robustness.attacks.losses import Loss, margins

# float32 [n, h, w, c] in [0, 1] -> logits [n, classes]
LogitsOf = Callable[[Array], Array]


class Attacked(NamedTuple):
    """The best point found for each image, and the margin of the prediction there."""

    images: Array  # float32 [n, h, w, c]
    margins: Array  # float32 [n]; below 0 where the prediction is wrong
    losses: Array  # float32 [n], the attack's loss, or cross-entropy if it uses no loss

    @property
    def is_broken(self) -> Array:
        """Whether each image is misclassified, bool [n]."""
        return self.margins < 0


def better(best: Attacked, new: Attacked) -> Attacked:
    """Returns for each image the result with the smaller margin, `best` at a tie."""
    is_better = new.margins < best.margins

    def choose(old: Array, other: Array) -> Array:
        return jnp.where(is_better.reshape(-1, *[1] * (old.ndim - 1)), other, old)

    return jax.tree.map(choose, best, new)


def evaluate(logits_of: LogitsOf, loss: Loss, images: Array, labels: Array) -> Attacked:
    """Returns the images themselves as the result of an attack."""
    logits = logits_of(images)
    return Attacked(images, margins(logits, labels), loss(logits, labels))


def climb(logits_of: LogitsOf, loss: Loss, images: Array, labels: Array) -> tuple[Array, Attacked]:
    """Returns the gradients of the loss by the images, 0 where they are not finite, and `evaluate`."""

    def total(x: Array) -> tuple[Array, Attacked]:
        found = evaluate(logits_of, loss, x, labels)
        return jnp.sum(found.losses), found

    gradients, found = jax.grad(total, has_aux=True)(images)
    return jnp.where(jnp.isfinite(gradients), gradients, 0), found
