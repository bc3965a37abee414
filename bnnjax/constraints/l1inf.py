"""The L1,inf constraint on binary weights and their scaling factors."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.bounds import Chain, Units, UnitStats, log_bound
from bnnjax.config import L1InfConfig
from bnnjax.constraints.base import Constraint
from bnnjax.ops import norms


def _channel_norms(unit: UnitStats, target: str) -> Array:
    """Returns the norm of each filter, [o], that `target` means."""
    if target == "folded":
        return norms.folded_l1(unit.l1, unit.gain, jax.lax.stop_gradient(unit.variance))
    if target == "gain":
        return norms.folded_l1(unit.l1, jnp.ones_like(unit.gain), unit.batch_variance)
    if target == "weights":
        return unit.latent_l1
    fan_in = unit.l1 / jnp.where(unit.scale > 0, unit.scale, 1)
    return jnp.abs(unit.scale) * jax.lax.stop_gradient(fan_in)


def l1inf(config: L1InfConfig, chain: Chain) -> Constraint:
    """Returns the constraint of the norm ||unit||_{1,inf} = max_o |g_o| / sqrt(v_o + eps) ||What_o||_1.

    Soft form: the loss gains strength * log L(network) (reduction `bound`; L as in `bnnjax.bounds`) or
    strength * sum of the units' norms (`sum`).  The variance is a constant of the step.  The max has its
    gradient in one channel; a temperature > 0 smooths it to a log-sum-exp, which is an upper bound.

    Hard form: after each update every gain is clipped to the nearest one with ||unit|| <= radius.  The
    classifier has no batch norm behind it, hence no such gain, and is left as it is.

    Targets: `folded` is the norm above, the only one that rescaling a latent kernel cannot change.  `gain`
    leaves g out and differentiates the batch variance.  `weights` (of the latent kernels) and `scales`
    (fan_in |a_o|) are the naive forms, for ablation.

    That the constraint means this norm is our reading (Zheng et al., ICML 2025; the formula could not be
    read).

    Args:
      config: form, target, reduction, temperature, strength, radius.
      chain: the network.
    """

    def penalty(units: Units) -> Array:
        unit_norms = {
            name: norms.maximum(_channel_norms(unit, config.target), config.temperature)
            for name, unit in units.items()
        }
        if config.reduction == "sum":
            return config.strength * sum(unit_norms.values(), start=jnp.zeros(()))
        return config.strength * log_bound(chain, unit_norms)

    def project_gains(units: Units) -> Mapping[str, Array]:
        return {
            name: norms.project_gain(unit.gain, unit.l1, unit.variance, config.radius)
            for name, unit in units.items()
        }

    if config.form == "hard":
        return Constraint(name="l1inf", project_gains=project_gains)
    return Constraint(name="l1inf", penalty=penalty)
