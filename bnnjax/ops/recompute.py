"""Functions whose backward pass computes them anew, from their arguments, instead of keeping what is within.

`jax.checkpoint` does the same and relies on `lax.optimization_barrier`, which XLA's CPU backend drops: it
then finds that all has been computed already, and keeps it.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def held_back(x: Array, cotangent: Array) -> Array:
    """Returns x, in such a way that no compiler can have it before the cotangent.

    Args:
      x: [...], any float dtype.
      cotangent: of at least one number, any float dtype.
    """
    # Nothing is larger than infinity, which compilers do not use.
    never = cotangent[(0,) * cotangent.ndim] > jnp.inf
    return jnp.where(never, jnp.zeros((), x.dtype), x)


def recomputed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns function(x, *rest) with a backward pass that begins with another forward pass.

    Args:
      function: pure, with an array or a tree of arrays as result, the first of which is of floats.  All that
        is differentiated is among its arguments; x is of floats.
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
