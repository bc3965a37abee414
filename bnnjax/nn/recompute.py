"""Parts of a network whose backward pass computes them anew."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
from flax.core import lift
from jax import Array

from bnnjax.methods import Values
from bnnjax.ops.recompute import recomputed

Part = Callable[[nn.Module, Array, Values], Array]


def call(part: Part, module: nn.Module, x: Array, schedule: Values) -> Array:
    """Returns part(module, x, schedule)."""
    return part(module, x, schedule)


def recompute(part: Part, module: nn.Module, x: Array, schedule: Values) -> Array:
    """Returns part(module, x, schedule), of which nothing but x and the schedule is kept for the gradient.

    Args:
      part: calls the module.
      module: of the network that calls this.
      x: [batch, h, w, c].
      schedule: see `Method`.
    """
    return nn.transforms.lift_transform(_lifted, part)(module, x, schedule)


def _lifted(part: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `part` of Flax's scopes with `recomputed` around the pure function that it is."""

    def around(
        scope_of: Any, variables_of: Any, variables: Any, keys: Any, x: Array, schedule: Values
    ) -> Any:
        def pure(x: Array, variables: Any, keys: Any, schedule: Values) -> Any:
            scope = scope_of(variables, keys)
            return part(scope, x, schedule), variables_of(scope)

        return recomputed(pure)(x, variables, keys, schedule)

    return lift.pack(around, (True,), (True,), (True,), name="recompute")
