"""The L1,inf constraint on agreement: a unit's inputs are to agree, so that noise on some does not matter."""

from collections.abc import Mapping

import jax.numpy as jnp
from jax import Array

from bnnjax.bounds.chain import CLASSIFIER, UnitStats
from bnnjax.config.constraints import L1InfConfig
from bnnjax.constraints.base import Constraint, Seen, State, ramped


def _votes(unit: UnitStats) -> Array:
    """Returns log(||What_o||_1 / sigma_o), [o]; 0 for a filter of zeros, which has no inputs."""
    has_inputs = unit.l1 > 0
    l1 = jnp.where(has_inputs, unit.l1, 1)
    return jnp.where(has_inputs, jnp.log(l1) - jnp.log(unit.batch_variance) / 2, 0)


def _noise_share(unit: UnitStats, squares: Array, noise: float) -> Array:
    """Returns log(1 + s^2 ||What_o||_2^2 / sigma_o^2), [o], the variance with noise over that without."""
    return jnp.log1p(noise**2 * squares / unit.batch_variance)


def agreement_form(config: L1InfConfig, weights: Mapping[str, float]) -> Constraint:
    """The penalty strength * sum over units of the mean over channels o of a_o:

        stem            a_o = log(1 + s^2 ||What_o||_2^2 / sigma_o^2)
        other units     a_o = log(||What_o||_1 / sigma_o)

    sigma_o^2 is the variance of this batch, with epsilon, differentiated: it rises where inputs agree.  For n
    binary inputs ||What_o||_1 / sigma_o = sqrt(n / kappa), kappa = 1 where they are uncorrelated, n where all
    agree, and the share of outputs that noise flips grows with it.  Neither term depends on the scale of
    What_o or on the gain.  In the stem the 2-norm counts, as for noise of deviation s that is independent
    from pixel to pixel: averaging pixels helps against it, but not by the 1-norm.

    A filter of zeros counts 0, a unit of weight w counts w times, the classifier, which has no batch norm
    behind it, not at all.

    Source: ours.

    Args:
      config: strength, ramp, noise.
      weights: of the units, the stem first.
    """
    stem = next(iter(weights))

    def penalty(seen: Seen, state: State) -> tuple[Array, State]:
        value = jnp.zeros(())
        for name, weight in weights.items():
            if name != CLASSIFIER:
                unit = seen.units[name]
                is_stem = name == stem
                terms = _noise_share(unit, seen.squares[name], config.noise) if is_stem else _votes(unit)
                value += weight * jnp.mean(terms)
        return ramped(config.strength, config.ramp, seen.progress) * value, state

    return Constraint(name="l1inf", needs=frozenset({"squares"}), penalty=penalty)
