"""Square attack: a black-box random search with squares, which uses logits and no gradients."""

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.robustness.attacks.balls import LINF
from bnnjax.robustness.attacks.best import Attacked, LogitsOf, better, evaluate
from bnnjax.robustness.attacks.compiled import compiled
from bnnjax.robustness.attacks.losses import cross_entropy
from bnnjax.robustness.attacks.pgd import check_steps

FIRST_SHARE = 0.8  # of the pixels, in the first square; as in AutoAttack
# The share is halved after these queries of 10,000.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


def _signs(key: Array, shape: tuple[int, ...]) -> Array:
    return jax.random.rademacher(key, shape, jnp.float32)


def side(query: Array, queries: int, height: int, width: int) -> Array:
    """Returns the side of the square in pixels, int32 [].

    Args:
      query: the number of the query, from 1, [].
      queries: their total number.
      height: of images.
      width: likewise.
    """
    passed = jnp.asarray(HALVINGS) < query * (10_000 / queries)
    share = FIRST_SHARE * 0.5 ** jnp.sum(passed)
    longest = max(min(height, width) - 1, 1)
    return jnp.clip(jnp.round(jnp.sqrt(share * height * width)), 1, longest).astype(jnp.int32)


@compiled("queries")
def square(
    logits_of: LogitsOf, key: Array, images: Array, labels: Array, eps: Array, *, queries: int
) -> Attacked:
    """Random search in the l_inf ball: changes of squares by 2 eps, one sign per channel, are kept if better.

    It starts from vertical stripes of +-eps and minimizes the margin z_y - max_{i != y} z_i; the losses that
    it returns are cross-entropies.

    Args:
      logits_of: images to logits; need not be differentiable.
      key: of the search.
      images: float32 [n, h, w, c] in [0, 1].
      labels: int [n].
      eps: [], traced.
      queries: evaluations of the logits beside that of the image itself; 1 or more.

    Raises:
      ValueError: if queries is below 1.

    Source: Andriushchenko et al. 2020, arXiv 1912.00049, Algorithms 1 and 2.
    """
    check_steps("queries", queries)
    count, height, width, channels = images.shape
    rows, columns = jnp.arange(height)[:, None], jnp.arange(width)

    def window(key: Array, length: Array) -> Array:
        top_key, left_key = jax.random.split(key)
        top = jax.random.randint(top_key, (count, 1, 1), 0, height - length + 1)
        left = jax.random.randint(left_key, (count, 1, 1), 0, width - length + 1)
        inside = (rows >= top) & (rows < top + length) & (columns >= left) & (columns < left + length)
        return inside[..., None]

    def query(number: Array, search: Attacked) -> Attacked:
        place_key, sign_key = jax.random.split(jax.random.fold_in(key, number))
        inside = window(place_key, side(number, queries, height, width))
        shift = 2 * eps * _signs(sign_key, (count, 1, 1, channels))
        points = LINF.project(search.images + jnp.where(inside, shift, 0), images, eps)
        return better(search, evaluate(logits_of, cross_entropy, points, labels))

    stripes = eps * _signs(jax.random.fold_in(key, 0), (count, 1, width, channels))
    start = evaluate(logits_of, cross_entropy, LINF.project(images + stripes, images, eps), labels)
    found = jax.lax.fori_loop(1, queries, query, start)
    return better(evaluate(logits_of, cross_entropy, images, labels), found)
