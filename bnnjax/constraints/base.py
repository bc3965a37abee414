"""The interface of all constraints: `Constraint`, and the step values that it gets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from bnnjax.bounds.chain import Units

State = Any  # nested tuples and dicts of float32 arrays
INPUT_GRADIENT = "input_gradient"  # in `needs` of a constraint that reads the field of this name
LATENTS = "latents"  # in `needs` of a constraint on latent kernels, which has no effect without any
SIGNS = "signs"  # in `needs` of a constraint on activations whose signs at 0 the method takes


class InputGradient(NamedTuple):
    """The derivative of the logits by the images, for this device's share of the batch."""

    # [batch, classes] -> [batch, h, w, c], for vectors v of all images: the gradient of sum_b v_b . logits_b
    pull: Callable[[Array], Array]
    logits: Array  # [batch, classes]
    keys: Array  # [batch], a random key per image, the same however the batch is split over devices


class Seen(NamedTuple):
    """Step values available to constraints: always units, latents and progress, the rest if needed."""

    units: Units  # of this step's forward pass
    latents: Mapping[str, Array]  # latent kernels, [..., i, o], by unit
    progress: Array  # epoch / epochs, [] float32
    kernels: Mapping[str, Array] = {}  # [h, w, i, o], with the batch norm folded in, by unit
    squares: Mapping[str, Array] = {}  # ||What_o||_2^2, [o], by unit
    input_gradient: InputGradient | None = None
    # Input and codes of each quantized layer, [batch, ..., c], by unit.
    activations: Mapping[str, tuple[Array, Array]] = {}
    stages: tuple[Array, ...] = ()  # the output of each stage, [batch, h, w, c]
    teacher: tuple[Array, ...] = ()  # likewise of a full-precision network, at inference; no gradient
    learned: Mapping[str, Array] = {}  # arrays that constraints train; always there


class After(NamedTuple):
    """A network after the optimizer's update, as input of a projection."""

    units: Units
    kernels: Mapping[str, Array] = {}  # as in Seen


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """A constraint: penalties and projections added to training; any part may be missing."""

    name: str
    # Names of the fields of `Seen` that it reads beside those that are always there; and LATENTS, SIGNS.
    needs: frozenset[str] = frozenset()
    # Whether these come from a forward pass of their own.
    second_pass: bool = False
    # Raises a ValueError if it cannot work with what it will see; gets the shapes of that.
    validate: Callable[[Seen], None] | None = None
    # What the constraint trains, without weight decay, under names of its own; gets the same shapes.
    learned: Callable[[Seen], Mapping[str, Array]] | None = None
    # The constraint's state before the first step, which is in every checkpoint; gets the shape of each
    # unit's kernel.
    init: Callable[[Mapping[str, tuple[int, ...]]], State] = lambda shapes: ()
    # (the network before the first step, the shape of each unit's kernel) -> the batch norm gains that
    # training begins with, by unit.
    first_gains: Callable[[Units, Mapping[str, tuple[int, ...]]], Mapping[str, Array]] | None = None
    # (values of this step, state) -> penalty, [], and the next state.
    penalty: Callable[[Seen, State], tuple[Array, State]] | None = None
    # (the network after the optimizer's update, state) -> the projected batch norm gains, by unit.
    project_gains: Callable[[After, State], Mapping[str, Array]] | None = None
    # Latent kernel -> latent kernel, after every update.
    project_latent: Callable[[Array], Array] | None = None


def ramped(strength: float, ramp: float, progress: Array) -> Array | float:
    """Returns a strength that rises linearly from 0 over the share `ramp` of training; ramp 0: at once."""
    return strength * (jnp.minimum(progress / ramp, 1) if ramp else 1)


def combined(constraints: Sequence[Constraint]) -> Constraint:
    """Returns the constraint that adds all penalties and applies all projections in order.

    Each projection of gains starts from the result of the one before; all see the network as updated.  So do
    the first gains.
    """
    checks = [one.validate for one in constraints if one.validate is not None]
    learns = [one.learned for one in constraints if one.learned is not None]
    penalties = [(n, one.penalty) for n, one in enumerate(constraints) if one.penalty is not None]
    begins = [one.first_gains for one in constraints if one.first_gains is not None]
    gains = [(n, one.project_gains) for n, one in enumerate(constraints) if one.project_gains is not None]
    latents = [one.project_latent for one in constraints if one.project_latent is not None]

    def validate(shapes: Seen) -> None:
        for check in checks:
            check(shapes)

    def learned(shapes: Seen) -> Mapping[str, Array]:
        return {name: array for own in learns for name, array in own(shapes).items()}

    def first_gains(units: Units, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Array]:
        units = dict(units)
        for begin in begins:
            units |= {name: units[name]._replace(gain=gain) for name, gain in begin(units, shapes).items()}
        return {name: unit.gain for name, unit in units.items()}

    def penalty(seen: Seen, state: State) -> tuple[Array, State]:
        total, states = jnp.zeros(()), list(state)
        for n, own in penalties:
            term, states[n] = own(seen, state[n])
            total += term
        return total, tuple(states)

    def project_gains(after: After, state: State) -> Mapping[str, Array]:
        units, kernels = dict(after.units), dict(after.kernels)
        for n, project in gains:
            for name, gain in project(After(units, kernels), state[n]).items():
                if name in kernels:
                    ratio = gain / jnp.where(units[name].gain == 0, 1, units[name].gain)
                    kernels[name] = kernels[name] * ratio
                units[name] = units[name]._replace(gain=gain)
        return {name: unit.gain for name, unit in units.items()}

    def project_latent(latent: Array) -> Array:
        for project in latents:
            latent = project(latent)
        return latent

    return Constraint(
        name=",".join(one.name for one in constraints) or "none",
        needs=frozenset().union(*(one.needs for one in constraints)),
        second_pass=any(one.second_pass for one in constraints),
        validate=validate if checks else None,
        learned=learned if learns else None,
        init=lambda shapes: tuple(one.init(shapes) for one in constraints),
        first_gains=first_gains if begins else None,
        penalty=penalty if penalties else None,
        project_gains=project_gains if gains else None,
        project_latent=project_latent if latents else None,
    )
