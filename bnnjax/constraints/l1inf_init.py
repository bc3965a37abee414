"""The L1,inf constraint's control: gains that only begin as small as the hard form makes them."""

import math
from collections.abc import Mapping

import jax.numpy as jnp
from jax import Array

from bnnjax.bounds.chain import CLASSIFIER, Units
from bnnjax.config.constraints import L1InfConfig
from bnnjax.constraints.base import Constraint
from bnnjax.ops import norms


def init_form(config: L1InfConfig, weights: Mapping[str, float]) -> Constraint:
    """Gains begin at g = min(1, radius / sqrt(n)), n the fan-in; nothing is penalized or projected.

    A binary layer of uncorrelated inputs has ||What_o||_1 / sigma_o = sqrt(n), so that these gains are those
    of the hard form at the beginning of training.  The gains of a network that training begins from are
    clipped to +-radius / sqrt(n).  A unit of weight w has radius / w; units of weight 0 and the classifier
    begin as without a constraint.

    Source: ours; it tells an effect of the norm from one of the initialization.

    Args:
      config: radius.
      weights: of the units.
    """

    def first_gains(units: Units, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Array]:
        gains = {}
        for name, weight in weights.items():
            if weight and name != CLASSIFIER:
                root = jnp.sqrt(jnp.float32(math.prod(shapes[name][:-1])))
                gains[name] = norms.project_gain(units[name].gain, root, jnp.ones(()), config.radius / weight)
        return gains

    return Constraint(name="l1inf", first_gains=first_gains)
