"""Rematerialization of parts of a network: the backward pass recomputes them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
from flax.core import lift
from jax import Array

from bnnjax.methods import Context
from bnnjax.ops.recompute import recomputed

Part = Callable[[nn.Module, Array, Context], Array]


def call(part: Part, module: nn.Module, x: Array, context: Context) -> Array:
    """Returns part(module, x, context)."""
    return part(module, x, context)


def recompute(part: Part, module: nn.Module, x: Array, context: Context) -> Array:
    """Returns part(module, x, context), keeping only x and the context for the gradient.

    Args:
      part: calls the module.
      module: of the network that calls this.
      x: [batch, h, w, c].
      context: see `Context`.
    """
    return nn.transforms.lift_transform(_lifted, part)(module, x, context)


def _lifted(part: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `part` as a function of Flax scopes, with `recomputed` around its pure form."""
    return lift.pack(partial(_recompute, part), (True,), (True,), (True,), name="recompute")


def _recompute(
    part: Callable[..., Any],
    scope_of: Any,
    variables_of: Any,
    variables: Any,
    keys: Any,
    x: Array,
    context: Context,
) -> Any:
    def pure(x: Array, variables: Any, keys: Any, context: Context) -> Any:
        scope = scope_of(variables, keys)
        return part(scope, x, context), variables_of(scope)

    return recomputed(pure)(x, variables, keys, context)
