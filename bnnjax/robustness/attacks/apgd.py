"""APGD: gradient ascent with momentum that halves its step when progress stalls."""

import math
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bnnjax.robustness.attacks.balls import LINF, Ball
from bnnjax.robustness.attacks.best import Attacked, LogitsOf, better, climb, evaluate
from bnnjax.robustness.attacks.compiled import compiled
from bnnjax.robustness.attacks.losses import Loss, cross_entropy
from bnnjax.robustness.attacks.pgd import check_steps

MOMENTUM = 0.75  # alpha, the share of the new step
ENOUGH = 0.75  # rho, the share of steps that must have increased the loss


def checkpoints(steps: int) -> list[int]:
    """Returns w_j = ceil(p_j steps): p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06).

    Args:
      steps: 1 or more.
    """
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    # Rounded first: in floating point 0.22 + 0.19 is slightly more than 0.41.
    found = (math.ceil(round(share * steps, 9)) for share in shares)
    return sorted({place for place in found if place <= steps})


class _State(NamedTuple):
    points: Array  # x_k, [n, h, w, c]
    before: Array  # x_{k-1}
    gradients: Array  # at x_k
    loss: Array  # at x_k, [n]
    highest: Array  # loss, [n], and where it was, with the gradient there
    highest_points: Array
    highest_gradients: Array
    stride: Array  # eta, [n]
    increases: Array  # since the last checkpoint, [n]
    highest_then: Array  # `highest` at the last checkpoint, [n]
    was_halved: Array  # whether the last checkpoint halved the stride, bool [n]
    best: Attacked


def _wide(x: Array) -> Array:
    return x[:, None, None, None]


def _at_checkpoint(state: _State, length: Array) -> _State:
    is_slow = state.increases < ENOUGH * length
    stands_still = ~state.was_halved & (state.highest <= state.highest_then)
    halve = is_slow | stands_still
    return state._replace(
        stride=jnp.where(halve, state.stride / 2, state.stride),
        points=jnp.where(_wide(halve), state.highest_points, state.points),
        gradients=jnp.where(_wide(halve), state.highest_gradients, state.gradients),
        loss=jnp.where(halve, state.highest, state.loss),
        increases=jnp.zeros_like(state.increases),
        highest_then=state.highest,
        was_halved=halve,
    )


@compiled("steps", "ball")
def apgd(
    logits_of: LogitsOf,
    key: Array,
    images: Array,
    labels: Array,
    eps: Array,
    *,
    steps: int,
    ball: Ball = LINF,
    loss: Loss = cross_entropy,
) -> Attacked:
    """Auto-PGD from a random point, with alpha = 0.75 and initial step size eta = 2 eps:

        z = P(x_k + eta steepest(dL/dx))
        x_{k+1} = P(x_k + alpha (z - x_k) + (1 - alpha) (x_k - x_{k-1}))

    At a checkpoint eta is halved and x set to the point of the highest loss if fewer than 0.75 of the steps
    since the last checkpoint increased the loss, or if eta was not halved at the last checkpoint and the
    highest loss has not changed since.  Each image has its own eta.  The first step has no momentum.  The
    result is the point of the smallest margin, the image itself included.

    Args:
      logits_of: images to logits.
      key: of the random start.
      images: float32 [n, h, w, c] in [0, 1].
      labels: int [n].
      eps: [], traced.
      steps: number of gradients after that at the start, 1 or more.
      ball: LINF or L2.
      loss: L, `cross_entropy` or `dlr`.

    Raises:
      ValueError: if steps is below 1, or the loss is not defined for so few classes.

    Source: Croce & Hein 2020, arXiv 2003.01690, Algorithm 1.
    """
    check_steps("steps", steps)
    places = checkpoints(steps)
    lengths = np.zeros(steps + 1, np.float32)  # of the period between checkpoints that ends with each step
    for first, last in pairwise(places):
        lengths[last] = last - first

    def step(k: Array, state: _State) -> _State:
        stride = _wide(state.stride)
        aim = ball.project(state.points + stride * ball.steepest(state.gradients), images, eps)
        share = jnp.where(k == 1, 1.0, MOMENTUM).astype(images.dtype)
        moved = state.points + share * (aim - state.points) + (1 - share) * (state.points - state.before)
        points = ball.project(moved, images, eps)
        gradients, here = climb(logits_of, loss, points, labels)
        is_highest = here.losses > state.highest
        new = state._replace(
            points=points,
            before=state.points,
            gradients=gradients,
            loss=here.losses,
            highest=jnp.where(is_highest, here.losses, state.highest),
            highest_points=jnp.where(_wide(is_highest), points, state.highest_points),
            highest_gradients=jnp.where(_wide(is_highest), gradients, state.highest_gradients),
            increases=state.increases + (here.losses > state.loss),
            best=better(state.best, here),
        )
        length = jnp.asarray(lengths)[k]
        return jax.tree.map(lambda a, b: jnp.where(length > 0, a, b), _at_checkpoint(new, length), new)

    start = ball.random(key, images, eps)
    gradients, here = climb(logits_of, loss, start, labels)
    count = len(images)
    state = _State(
        points=start,
        before=start,
        gradients=gradients,
        loss=here.losses,
        highest=here.losses,
        highest_points=start,
        highest_gradients=gradients,
        stride=jnp.full(count, 2, images.dtype) * eps,
        increases=jnp.zeros(count, jnp.int32),
        highest_then=here.losses,
        was_halved=jnp.zeros(count, bool),
        best=better(evaluate(logits_of, loss, images, labels), here),
    )
    return jax.lax.fori_loop(1, steps + 1, step, state).best
