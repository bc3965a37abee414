"""The search for useful gradients: temperatures of the surrogate gradients and of the logits."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from bnnjax.robustness.attacks.best import climb
from bnnjax.robustness.attacks.losses import cross_entropy
from bnnjax.robustness.attacks.pgd import ascend
from bnnjax.robustness.attacks.target import Target

SURROGATES = (None, 0.3, 1.0, 3.0)
# Targets for the median of the logits' margins; None leaves the logits unscaled.
MARGINS = (None, 1.0, 5.0)


class Setting(NamedTuple):
    """A pair of temperatures, and the result of a short attack with them."""

    surrogate: float | None  # temperature of a Target; None: the network's own gradients
    logits: float  # T of `cross_entropy`
    accuracy: float  # percent
    margin: float  # mean over the images, in units of the median margin without an attack
    vanished: float  # percent of the images at which the gradient is zero


@jax.jit
def _logits(target: Target, images: Array) -> Array:
    return target(images)


@partial(jax.jit, static_argnames="steps")
def _short_attack(
    target: Target, loss: Partial, key: Array, images: Array, labels: Array, eps: Array, *, steps: int
) -> tuple[Array, Array]:
    """Returns the margins after PGD, [n], and whether the gradient at each image is zero, bool [n]."""
    gradients, _ = climb(target, loss, images, labels)
    found = ascend(target, key, images, labels, eps, steps=steps, loss=loss)
    return found.margins, jnp.all(gradients == 0, axis=(1, 2, 3))


def search(
    target: Target,
    key: Array,
    images: Array,
    labels: Array,
    eps: float,
    *,
    steps: int = 8,
    surrogates: Sequence[float | None] = SURROGATES,
) -> list[Setting]:
    """Returns the results of a short PGD with each pair of temperatures, the network's own gradients first.

    Gradients that vanish in a saturated softmax or beyond a narrow surrogate can be mistaken for robustness;
    two scales decide whether they do (Gupta & Ajanthan 2020, arXiv 2003.13511, scale the logits; searching
    the surrogate's width as well is our addition).

    Args:
      target: the network.
      key: of PGD's random start, the same for all pairs.
      images: a few, float32 [n, h, w, c] in [0, 1].
      labels: int [n].
      eps: the size of the attack, l_inf.
      steps: of the attack.
      surrogates: temperatures to try; None stands for the network's own gradients.
    """
    logits = np.asarray(_logits(target.at(None), images), np.float64)
    ordered = np.sort(logits, axis=1)
    gap = max(float(np.median(ordered[:, -1] - ordered[:, -2])), 1e-12)
    temperatures = [1.0 if margin is None else gap / margin for margin in MARGINS]

    settings = []
    for surrogate in surrogates:
        for temperature in temperatures:
            loss = Partial(cross_entropy, temperature=jnp.float32(temperature))
            given = (loss, key, images, labels, jnp.float32(eps))
            found = _short_attack(target.at(surrogate), *given, steps=steps)
            margins, is_zero = (np.asarray(each, np.float64) for each in found)
            settings.append(
                Setting(
                    surrogate,
                    temperature,
                    100 * float(np.mean(margins >= 0)),
                    float(np.mean(np.maximum(margins, -1e30)) / gap),
                    100 * float(np.mean(is_zero)),
                )
            )
    return settings


def strongest(settings: Sequence[Setting]) -> Setting:
    """Returns the setting with the lowest accuracy, at a tie that with the smallest margin."""
    return min(settings, key=lambda setting: (setting.accuracy, setting.margin))
