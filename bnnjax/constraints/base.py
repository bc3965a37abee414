"""The shape that all constraints have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jax import Array

from bnnjax.bounds import Units


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """What a constraint adds to training; either part may be missing."""

    name: str
    # units of this step's forward pass -> [], added to the loss.
    penalty: Callable[[Units], Array] | None = None
    # units as they are after the optimizer's update -> the batch norm gains to go on with, by unit.
    project_gains: Callable[[Units], Mapping[str, Array]] | None = None
