"""The L1,inf constraint by construction: a floor under the variance of each batch norm."""

from collections.abc import Mapping

import jax.numpy as jnp
from jax import Array

from bnnjax.bounds.chain import CLASSIFIER, Units
from bnnjax.config.constraints import L1InfConfig
from bnnjax.constraints.base import After, Constraint, State


def floor_form(config: L1InfConfig, weights: Mapping[str, float]) -> Constraint:
    """Batch norms divide by sqrt(v + eps + (||What_o||_1 / radius)^2), and gains are clipped to [-1, 1].

    A unit's norm is then at most the radius whatever its kernel and its variance, in training as at
    inference.  The batch norms are the network's (`Unit.radius_of`); here gains are clipped, before the first
    step and after each update.  The floor is differentiated, so that What_o has no gradient along itself, as
    before a plain batch norm.

    A unit of weight w has radius / w; units of weight 0 are left alone, as is the classifier, which has no
    batch norm behind it.

    Source: ours; the hard form without its jumps and without the lag of the running variance.

    Args:
      config: radius.
      weights: of the units.
    """
    movable = [name for name, weight in weights.items() if weight and name != CLASSIFIER]

    def first_gains(units: Units, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Array]:
        return {name: jnp.clip(units[name].gain, -1, 1) for name in movable}

    def project_gains(after: After, state: State) -> Mapping[str, Array]:
        return first_gains(after.units, {})

    return Constraint(name="l1inf", first_gains=first_gains, project_gains=project_gains)
