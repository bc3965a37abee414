"""Empirical lower bounds of the Lipschitz constant: how far noise found by gradient ascent moves outputs."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.runtime.inputs import require_finite

SIZES = (1e-3, 1e-2, 1e-1, 1.0)  # max|d|, in the units of the network's input
NOTHING = 1e-30  # stands for no movement, whose logarithm is infinite

# (arrays, images) -> logits [n, classes].  Arrays are arguments, not constants of the function: XLA would
# spend minutes on folding the constants of a large network.
LogitsOf = Callable[[Any, Array], Array]


def _steepest(logits_of: Callable[[Array], Array], images: Array) -> Array:
    """Returns the signs, [n, h, w, c], of the row of each image's Jacobian with the largest L1 norm."""
    logits, pull = jax.vjp(logits_of, images)
    classes = logits.shape[-1]

    def row(label: Array) -> Array:
        (by_images,) = pull(
            jnp.broadcast_to(jax.nn.one_hot(label, classes, dtype=logits.dtype), logits.shape)
        )
        return by_images

    def better(label: Array, best: tuple[Array, Array]) -> tuple[Array, Array]:
        found, length = row(label), best[1]
        own = jnp.sum(jnp.abs(found), axis=(1, 2, 3))
        return jnp.where((own > length)[:, None, None, None], found, best[0]), jnp.maximum(own, length)

    zero = jnp.zeros_like(images)
    steepest, _ = jax.lax.fori_loop(0, classes, better, (zero, jnp.full(len(images), -1.0, images.dtype)))
    return jnp.where(steepest >= 0, 1.0, -1.0).astype(images.dtype)


@partial(jax.jit, static_argnums=(0, 4))
def largest_movement(logits_of: LogitsOf, arrays: Any, images: Array, size: Array, steps: int) -> Array:
    """Returns the largest max|f(x + d) - f(x)| / max|d|, [n], found with max|d| = size.

    Gradient ascent on d from the steepest direction at x: d <- size sign(dy/dd) of the logit y that moved
    most, which is the best d for the linear function with that gradient.

    Args:
      logits_of: f; it should be continuous if the result is compared with a bound.
      arrays: f's arrays.
      images: x, [n, h, w, c].
      size: [], positive.
      steps: of the ascent; 0 tries only the first direction.
    """
    of = partial(logits_of, arrays)
    base = of(images)

    def ascend(_: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        direction, best = carry
        moved, pull = jax.vjp(lambda d: of(images + d) - base, size * direction)
        farthest = jnp.argmax(jnp.abs(moved), axis=-1)
        toward = jax.nn.one_hot(farthest, moved.shape[-1], dtype=moved.dtype) * jnp.sign(moved)
        (gradient,) = pull(toward)
        # A pixel that the logit no longer depends on keeps its noise.
        new = jnp.where(gradient == 0, direction, jnp.sign(gradient))
        return new, jnp.maximum(best, jnp.max(jnp.abs(moved), axis=-1) / size)

    start = (_steepest(of, images), jnp.zeros(len(images), images.dtype))
    return jax.lax.fori_loop(0, steps + 1, ascend, start)[1]


def empirical_log_bound(logits_of: LogitsOf, arrays: Any, images: Array, steps: int = 10) -> dict[str, float]:
    """Returns log of the largest movement found over the images, in nats, by the size of the noise as text.

    Each is a lower bound of the network's Lipschitz constant with respect to the max norm, up to rounding.

    Args:
      logits_of: the surrogate network at inference.
      arrays: its arrays.
      images: [n, h, w, c], normalized.
      steps: of the ascent, for each size.

    Raises:
      ValueError: if an image has an entry that is not finite.
    """
    require_finite("images", images)
    found = {size: largest_movement(logits_of, arrays, images, jnp.float32(size), steps) for size in SIZES}
    return {f"{size:g}": float(jnp.log(jnp.maximum(jnp.max(each), NOTHING))) for size, each in found.items()}
