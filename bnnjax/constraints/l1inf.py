"""The L1,inf constraint on binary weights and their scaling factors."""

import fnmatch
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.bounds.chain import CLASSIFIER, Chain, Slope, UnitStats, unit_names
from bnnjax.bounds.lipschitz import log_bound, slopes
from bnnjax.config.constraints import L1InfConfig
from bnnjax.constraints.base import After, Constraint, Seen, State, ramped
from bnnjax.constraints.l1inf_agreement import agreement_form
from bnnjax.constraints.l1inf_floor import floor_form
from bnnjax.constraints.l1inf_init import init_form
from bnnjax.constraints.l1inf_reach import reach_form
from bnnjax.ops import norms

# The forms in files of their own: (settings, weights of the units in order) -> constraint.
FORMS = {"init": init_form, "floor": floor_form, "agreement": agreement_form, "reach": reach_form}


def _channel_norms(unit: UnitStats, target: str) -> Array:
    """Returns the norm of each filter, [o], as `target` defines it."""
    if target == "folded":
        return norms.folded_l1(unit.l1, unit.gain, jax.lax.stop_gradient(unit.variance))
    if target == "gain":
        return norms.folded_l1(unit.l1, jnp.ones_like(unit.gain), unit.batch_variance)
    if target == "weights":
        return unit.latent_l1
    fan_in = unit.l1 / jnp.where(unit.scale > 0, unit.scale, 1)
    return jnp.abs(unit.scale) * jax.lax.stop_gradient(fan_in)


def common_radius(
    chain: Chain, factors: Mapping[str | Slope, Array], free: frozenset[str], log_target: float
) -> Array:
    """Returns the largest r, [], for which unit norms min(norm, r) give log L <= log_target; may be infinite.

    Found by bisection of log r.  If units that are not free exceed the target on their own, r is the smallest
    value, exp(-30).

    Args:
      chain: the network.
      factors: norms of units and learned activations, as `log_bound` takes them.
      free: units whose norm can be lowered.
      log_target: in nats.
    """

    def log_bound_at(log_radius: Array) -> Array:
        radius = jnp.exp(log_radius)
        return log_bound(
            chain,
            {name: jnp.minimum(norm, radius) if name in free else norm for name, norm in factors.items()},
        )

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        fits = log_bound_at(middle) <= log_target
        return jnp.where(fits, middle, low), jnp.where(fits, high, middle)

    low, _ = jax.lax.fori_loop(0, 26, halve, (jnp.float32(-30), jnp.float32(30)))
    return jnp.where(log_bound(chain, factors) <= log_target, jnp.inf, jnp.exp(low))


def l1inf(config: L1InfConfig, chain: Chain) -> Constraint:
    """Returns the constraint of the norm ||unit||_{1,inf} = max_o |g_o| / sqrt(v_o + eps) ||What_o||_1.

    Forms other than these two are in FORMS.

    Soft form: the penalty is strength * log L(network) (reduction `bound`; L as in
    `bnnjax.bounds.lipschitz`) or strength * sum of the units' norms (`sum`).  The variance is a constant of
    the step.  The gradient of the max goes to one channel; a temperature > 0 smooths it to a log-sum-exp,
    which is an upper bound.  A ramp raises the strength linearly from 0.  A unit of weight w contributes
    norm^w to the bound, w norm to the sum.

    The slopes of learned activations enter the network's bound; they are not units, so neither `sum` nor the
    hard form includes them.

    Hard form: after each update every gain is clipped to the nearest one with ||unit|| <= radius / w.  With a
    target bound B the radius is the largest common one with L <= B, `common_radius`, found again after each
    update, so that norms below it are not lowered.  The classifier has no batch norm behind it, hence no such
    gain, and is left unchanged, as are units of weight 0.

    Targets: `folded` is the norm above, the only one that rescaling a latent kernel cannot change.  `gain`
    leaves g out and differentiates the batch variance.  `weights` (of the latent kernels) and `scales`
    (fan_in |a_o|) are the naive forms, for ablation.

    That the constraint means this norm is our reading (Zheng et al., ICML 2025; the formula could not be
    read).

    Args:
      config: form, target, reduction, temperature, strength, ramp, radius, bound, layers.
      chain: the network.

    Raises:
      ValueError: if a pattern in `layers` matches no unit.
    """
    names = list(unit_names(chain))
    for entry in config.layers:
        if not fnmatch.filter(names, entry.rpartition("=")[0]):
            raise ValueError(f"l1inf.layers {entry} matches no unit; there are {', '.join(names)}")
    weights = {name: config.weight(name) for name in names}
    if config.form in FORMS:
        return FORMS[config.form](config, weights)
    movable = frozenset(name for name in names if weights[name] and name != CLASSIFIER)

    def penalty(seen: Seen, state: State) -> tuple[Array, State]:
        unit_norms = {
            name: norms.maximum(_channel_norms(unit, config.target), config.temperature)
            for name, unit in seen.units.items()
        }
        if config.reduction == "sum":
            value = sum((weights[name] * norm for name, norm in unit_norms.items()), start=jnp.zeros(()))
        else:
            weighed: dict[str | Slope, Array] = {
                name: norm if weights[name] == 1 else jnp.maximum(norm, 1e-30) ** weights[name]
                for name, norm in unit_norms.items()
            }
            value = log_bound(chain, slopes(seen.units) | weighed)
        return ramped(config.strength, config.ramp, seen.progress) * value, state

    def project_gains(after: After, state: State) -> Mapping[str, Array]:
        units = after.units
        radii: dict[str, Array] = {name: jnp.float32(config.radius / weights[name]) for name in movable}
        if config.bound is not None:
            factors = slopes(units) | {name: unit.norm for name, unit in units.items()}
            radii = dict.fromkeys(movable, common_radius(chain, factors, movable, math.log(config.bound)))
        return {
            name: norms.project_gain(units[name].gain, units[name].l1, units[name].variance, radius)
            for name, radius in radii.items()
        }

    return Constraint(
        name="l1inf",
        penalty=None if config.form == "hard" else penalty,
        project_gains=None if config.form == "soft" else project_gains,
    )
