"""Batch norm, shortcut and nonlinearity in one function with a hand-written gradient."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.ops.outline import outlined_with

Activation = Callable[[Array], Array]


def scale_and_shift(
    y: Array, shortcut: Array | None, multiplier: Array, offset: Array, activation: Activation
) -> Array:
    """Returns activation(y * multiplier + offset + shortcut): batch norm with the statistics folded in.

    Args:
      y: [batch, ..., c].
      shortcut: of the same shape, or None.
      multiplier: [c], float32.
      offset: [c], float32.
      activation: elementwise.
    """
    return outlined_with(_apply, activation)(y, shortcut, multiplier, offset)


@partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def batch_norm(
    y: Array,
    shortcut: Array | None,
    gain: Array,
    bias: Array,
    activation: Activation,
    epsilon: float,
    axis_name: str | None,
) -> tuple[Array, Array, Array]:
    """Returns activation(g (y - mean) / sqrt(var + eps) + b + shortcut), mean and var.

    mean and var (biased) are taken per channel over the batch, over all devices if an axis is named.
    Gradients flow through both, and both outputs may be differentiated too.

    Args:
      y: [batch, ..., c], any float dtype; statistics are float32.
      shortcut: of the same shape, or None.
      gain: [c], float32.
      bias: [c], float32.
      activation: elementwise; one object per kind, since each is compiled once.
      epsilon: added to the variance.
      axis_name: mapped axis over which statistics are averaged, or None.
    """
    return _forward(y, shortcut, gain, bias, activation, epsilon, axis_name)[0]


def _average(axis_name: str | None, values: Any) -> Any:
    return values if axis_name is None else jax.lax.pmean(values, axis_name)


def _apply(
    activation: Activation, y: Array, shortcut: Array | None, multiplier: Array, offset: Array
) -> Array:
    u = y * multiplier + offset
    if shortcut is not None:
        u = u + shortcut
    return activation(u.astype(y.dtype))


def _channel_means(*terms: Array) -> list[Array]:
    return [jnp.mean(term, axis=tuple(range(term.ndim - 1))) for term in terms]


def _moments(y: Array) -> list[Array]:
    y = y.astype(jnp.float32)
    return _channel_means(y, y * y)


def _forward(
    y: Array,
    shortcut: Array | None,
    gain: Array,
    bias: Array,
    activation: Activation,
    epsilon: float,
    axis_name: str | None,
) -> tuple[tuple[Array, Array, Array], tuple[Any, ...]]:
    mean, square = _average(axis_name, outlined_with(_moments)(y))
    # Rounding may leave a constant channel slightly below zero.
    variance = jnp.maximum(square - mean * mean, 0)
    deviation = jax.lax.rsqrt(variance + epsilon)
    multiplier = gain * deviation
    offset = bias - mean * multiplier
    z = scale_and_shift(y, shortcut, multiplier, offset, activation)
    return (z, mean, variance), (y, shortcut, mean, deviation, multiplier, offset)


def _through_activation(
    activation: Activation,
    g: Array,
    y: Array,
    shortcut: Array | None,
    multiplier: Array,
    offset: Array,
    mean: Array,
) -> tuple[Array, list[Array]]:
    """Returns d, the gradient before the activation, and the channel means of d and of d (y - mean)."""
    u = y * multiplier + offset
    if shortcut is not None:
        u = u + shortcut
    (d,) = jax.vjp(activation, u.astype(y.dtype))[1](g)
    wide = d.astype(jnp.float32)
    return d, _channel_means(wide, wide * (y - mean))


def _linear(d: Array, y: Array, of_d: Array, of_y: Array, constant: Array) -> Array:
    return (d * of_d + y * of_y + constant).astype(y.dtype)


def _backward(
    activation: Activation,
    epsilon: float,
    axis_name: str | None,
    residuals: tuple[Any, ...],
    cotangents: tuple[Array, Array, Array],
) -> tuple[Array, Array | None, Array, Array]:
    y, shortcut, mean, deviation, multiplier, offset = residuals
    g, g_mean, g_variance = cotangents
    d, sums = outlined_with(_through_activation, activation)(g, y, shortcut, multiplier, offset, mean)
    count = y.size // y.shape[-1]
    # The sums of this device are its gradients of gain and bias; what flows through the statistics is the
    # average over all devices.
    mean_d, mean_dy, g_mean, g_variance = _average(axis_name, (*sums, g_mean, g_variance))
    # dL/dy = multiplier (d - mean d - (y - mean) mean(d (y - mean)) / var) + dL/dvar 2 (y - mean) / count
    # + dL/dmean / count, by powers of y, since broadcasting a channel's number costs as much as a product.
    of_y = 2 * g_variance / count - multiplier * deviation**2 * mean_dy
    constant = g_mean / count - multiplier * mean_d - mean * of_y
    dy = outlined_with(_linear)(d, y, multiplier, of_y, constant)
    return dy, None if shortcut is None else d, sums[1] * deviation * count, sums[0] * count


batch_norm.defvjp(_forward, _backward)
