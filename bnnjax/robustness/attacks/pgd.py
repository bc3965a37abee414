"""FGSM and PGD: one step along the gradient's signs, or many that stay in the ball; and no attack at all."""

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.robustness.attacks.balls import LINF, Ball
from bnnjax.robustness.attacks.best import Attacked, LogitsOf, better, climb, evaluate
from bnnjax.robustness.attacks.compiled import compiled
from bnnjax.robustness.attacks.losses import Loss, cross_entropy

STRIDE = 2.5  # the total length of all steps, in units of eps


def check_steps(name: str, steps: int) -> None:
    """Rejects a number of steps below 1.

    Raises:
      ValueError: naming it.
    """
    if steps < 1:
        raise ValueError(f"{name} must be at least 1; got {steps}")


@compiled()
def unattacked(
    logits_of: LogitsOf,
    key: Array,
    images: Array,
    labels: Array,
    eps: Array,
    *,
    loss: Loss = cross_entropy,
) -> Attacked:
    """Returns the images themselves, the result of any attack at eps 0; arguments as for `fgsm`."""
    return evaluate(logits_of, loss, images, labels)


@compiled()
def fgsm(
    logits_of: LogitsOf,
    key: Array,
    images: Array,
    labels: Array,
    eps: Array,
    *,
    loss: Loss = cross_entropy,
) -> Attacked:
    """One step from the image: clip(x + eps sign(dL/dx), 0, 1).

    Args:
      logits_of: images to logits.
      key: unused, since nothing is random; all attacks have the same signature.
      images: x, float32 [n, h, w, c] in [0, 1].
      labels: int [n].
      eps: [], traced.
      loss: L.

    Source: Goodfellow et al. 2015, arXiv 1412.6572.
    """
    gradients, own = climb(logits_of, loss, images, labels)
    points = LINF.project(images + eps * LINF.steepest(gradients), images, eps)
    return better(own, evaluate(logits_of, loss, points, labels))


def ascend(
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
    """Projected gradient ascent from a random point: x <- P(x + 2.5 eps / steps * steepest(dL/dx)).

    The result is the point of the smallest margin among all steps, the image itself included.

    Args:
      logits_of: images to logits.
      key: of the random start.
      images: float32 [n, h, w, c] in [0, 1].
      labels: int [n].
      eps: [], traced.
      steps: gradients, 1 or more.
      ball: LINF or L2.
      loss: L.

    Raises:
      ValueError: if steps is below 1.

    Source: Madry et al. 2018, arXiv 1706.06083; the stride is that of their MNIST and CIFAR-10 code.
    """
    check_steps("steps", steps)
    stride = STRIDE / steps * jnp.asarray(eps, images.dtype)

    def step(_: Array, carry: tuple[Array, Attacked]) -> tuple[Array, Attacked]:
        points, best = carry
        gradients, here = climb(logits_of, loss, points, labels)
        return ball.project(points + stride * ball.steepest(gradients), images, eps), better(best, here)

    start = (ball.random(key, images, eps), evaluate(logits_of, loss, images, labels))
    points, best = jax.lax.fori_loop(0, steps, step, start)
    return better(best, evaluate(logits_of, loss, points, labels))


# `ascend` itself is for callers that are compiled as a whole.
pgd = compiled("steps", "ball")(ascend)
