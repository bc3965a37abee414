"""The L1,inf constraint on the reach of noise: values are to keep away from their sign's threshold."""

from collections.abc import Mapping
from itertools import pairwise

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.bounds.chain import CLASSIFIER, UnitStats
from bnnjax.config.constraints import L1InfConfig
from bnnjax.constraints.base import SIGNS, Constraint, Seen, State, ramped


def reach(unit: UnitStats, squares: Array, deviation: float) -> Array:
    """Returns |g_o| ||What_o||_2 / sigma_o times the deviation of noise on each input, [o].

    It is the deviation of the unit's output under noise that is independent from input to input.

    Args:
      unit: of its gain and variance.
      squares: [o], ||What_o||_2^2.
      deviation: of the noise.
    """
    return jnp.abs(unit.gain) * jnp.sqrt(squares / unit.batch_variance) * deviation


def shortfall(h: Array, r: Array) -> Array:
    """Returns the mean of max(0, 1 - |h| / r), []; a channel with r = 0 counts 0, and h = 0 is pushed up.

    Args:
      h: [batch, ..., c].
      r: [c].
    """
    is_reached = r > 0
    short = jax.nn.relu(1 - jnp.abs(h.astype(jnp.float32)) / jnp.where(is_reached, r, 1))
    return jnp.mean(jnp.where(is_reached, short, 0))


def reach_form(config: L1InfConfig, weights: Mapping[str, float]) -> Constraint:
    """The penalty strength * mean over quantized layers of mean max(0, 1 - |h| / r), h what its signs are of.

        r_o = tau |g_o| s ||What_o||_2 / sigma_o                behind the stem
        r_o = tau |g_o| 2 sqrt(p (1 - p)) ||What_o||_2 / sigma_o    behind other units

    of the unit before the layer, for noise of deviation s on the network's input and for signs of which a
    share p flips; noise that comes over shortcuts is left out.  r is a constant of the step, so that no gain
    falls to lower it.  A layer behind a unit of weight w counts w times.

    Methods must take the sign of what they quantize at 0.

    Source: ours.

    Args:
      config: strength, ramp, noise, flips, tau.
      weights: of the units in order, the stem first.
    """
    path = [name for name in weights if name != CLASSIFIER and not name.endswith("/shortcut")]
    signs = 2 * (config.flips * (1 - config.flips)) ** 0.5

    def penalty(seen: Seen, state: State) -> tuple[Array, State]:
        terms = []
        for before, layer in pairwise(path):
            deviation = config.tau * (config.noise if before == path[0] else signs)
            r = reach(*jax.lax.stop_gradient((seen.units[before], seen.squares[before])), deviation)
            terms.append(weights[before] * shortfall(seen.activations[layer][0], r))
        value = jnp.mean(jnp.stack(terms))
        return ramped(config.strength, config.ramp, seen.progress) * value, state

    return Constraint(name="l1inf", needs=frozenset({"activations", "squares", SIGNS}), penalty=penalty)
