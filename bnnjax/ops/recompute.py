"""Rematerialization: functions whose backward pass recomputes them instead of keeping intermediate values.

`jax.checkpoint` does the same but relies on `lax.optimization_barrier`, which XLA's CPU backend drops: it
then merges the recomputation with the forward pass, and keeps the intermediate values after all.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def held_back(x: Array, cotangent: Array) -> Array:
    """Returns x in such a way that no compiler can use it before the cotangent is known.

    Args:
      x: [...], any float dtype.
      cotangent: not empty, any float dtype.
    """
    # Nothing is larger than infinity, but compilers do not use that.
    never = cotangent[(0,) * cotangent.ndim] > jnp.inf
    return jnp.where(never, jnp.zeros((), x.dtype), x)


def recomputed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns function(x, *rest) with a backward pass that begins with another forward pass.

    Args:
      function: pure; returns an array or a tree of arrays, the first of a float dtype, as x is.  Gradients
        reach its arguments only, not arrays that it closes over.
    """

    @jax.custom_vjp
    def call(x: Array, *rest: Any) -> Any:
        return function(x, *rest)

    def forward(x: Array, *rest: Any) -> tuple[Any, tuple[Any, ...]]:
        return call(x, *rest), (x, *rest)

    def backward(arguments: tuple[Any, ...], g: Any) -> tuple[Any, ...]:
        x, *rest = arguments
        return jax.vjp(function, held_back(x, jax.tree.leaves(g)[0]), *rest)[1](g)

    call.defvjp(forward, backward)
    return call
