"""Elementwise functions with parameters per channel, whose gradients take one pass."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.ops.floats import floats
from bnnjax.ops.outline import outlined_with

Parameters = Mapping[str, Array]
Function = Callable[[Array, Parameters], Array]


def channelwise(function: Function, x: Array, parameters: Parameters) -> Array:
    """Returns function(x, parameters), computed in the dtype of x.

    The gradient of a parameter is a sum over all axes of x but the channels, in float32 whatever the dtype of
    x: in bfloat16 a sum of ones never exceeds 256.

    Args:
      function: elementwise in x and in the parameters broadcast to it; one object per kind, since each is
        compiled once.
      x: [..., c], any float dtype.
      parameters: [c] each, float32.
    """
    return _channelwise(function, floats(x), parameters)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _channelwise(function: Function, x: Array, parameters: Parameters) -> Array:
    return outlined_with(_apply, function)(x, parameters)


def _apply(function: Function, x: Array, parameters: Parameters) -> Array:
    return function(x, {name: value.astype(x.dtype) for name, value in parameters.items()})


def _pull(function: Function, g: Array, x: Array, parameters: Parameters) -> tuple[Array, Parameters]:
    wide = {name: jnp.broadcast_to(value.astype(x.dtype), x.shape) for name, value in parameters.items()}
    by_x, by_wide = jax.vjp(function, x, wide)[1](g)
    axes = tuple(range(x.ndim - 1))
    return by_x, {name: jnp.sum(each.astype(jnp.float32), axes) for name, each in by_wide.items()}


def _forward(function: Function, x: Array, parameters: Parameters) -> tuple[Array, tuple[Any, ...]]:
    return _channelwise(function, x, parameters), (x, parameters)


def _backward(function: Function, residuals: tuple[Any, ...], g: Array) -> tuple[Array, Parameters]:
    return outlined_with(_pull, function)(g, *residuals)


_channelwise.defvjp(_forward, _backward)
