"""Losses that attacks maximize, and the margin, which shows whether they have succeeded."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

# (logits [n, classes], labels [n]) -> [n], to maximize.
Loss = Callable[[Array, Array], Array]

TIE = 1e-30  # a lost tie counts as a margin of minus this
LEAST_SPREAD = 1e-12  # between the best and the third logit


def _true_and_best_other(logits: Array, labels: Array) -> tuple[Array, Array]:
    own = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
    true = jnp.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
    return true, jnp.max(jnp.where(own, -jnp.inf, logits), axis=-1)


def margins(logits: Array, labels: Array) -> Array:
    """Returns z_y - max_{i != y} z_i, which is below 0 if and only if the prediction is not y.

    At a tie the first class is predicted; a lost tie has the margin -1e-30.  An image with a NaN among its
    logits counts as misclassified, with margin -inf.

    Args:
      logits: z, [n, classes].
      labels: y, int [n].
    """
    true, other = _true_and_best_other(logits, labels)
    margin = true - other
    is_lost_tie = (margin == 0) & (jnp.argmax(logits, axis=-1) != labels)
    return jnp.where(jnp.isnan(margin), -jnp.inf, jnp.where(is_lost_tie, -TIE, margin))


def cross_entropy(logits: Array, labels: Array, temperature: float | Array = 1.0) -> Array:
    """Returns -log softmax(z / T)_y, in nats.

    T restores the gradient where the softmax is saturated (Gupta & Ajanthan 2020, arXiv 2003.13511).

    Args:
      logits: z, [n, classes].
      labels: y, int [n].
      temperature: T, above 0.
    """
    scaled = logits / temperature
    return jax.nn.logsumexp(scaled, axis=-1) - jnp.take_along_axis(scaled, labels[:, None], axis=-1)[:, 0]


def dlr(logits: Array, labels: Array) -> Array:
    """Returns -(z_y - max_{i != y} z_i) / (z_1st - z_3rd), the difference of logits ratio.

    It is invariant to scaling and shifting all logits.

    Args:
      logits: z, [n, classes], sorted from 1st to last in the denominator.
      labels: y, int [n].

    Raises:
      ValueError: if there are fewer than 3 classes.

    Source: Croce & Hein 2020, arXiv 2003.01690, Eq. 6.
    """
    if logits.shape[-1] < 3:
        raise ValueError(f"the DLR loss takes 3 or more classes; got {logits.shape[-1]}")
    true, other = _true_and_best_other(logits, labels)
    ordered = jax.lax.top_k(logits, 3)[0]
    return -(true - other) / jnp.maximum(ordered[:, 0] - ordered[:, 2], LEAST_SPREAD)
