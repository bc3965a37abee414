"""Batch norm, shortcut and nonlinearity in one function with a hand-written gradient."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.ops.floats import floats
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
    shortcut = None if shortcut is None else floats(shortcut)
    return outlined_with(_apply, activation)(floats(y), shortcut, multiplier, offset)


@partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def batch_norm(
    y: Array,
    shortcut: Array | None,
    gain: Array,
    bias: Array,
    activation: Activation,
    epsilon: float,
    axis_name: str | None,
    floor: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Returns activation(g (y - mean) / sqrt(var + eps + floor) + b + shortcut), mean and var.

    mean and var (biased) are taken per channel over the batch, over all devices if an axis is named.
    Gradients flow through both, and both outputs may be differentiated too.  A channel of zero variance gives
    activation(b + shortcut) exactly.

    Args:
      y: [batch, ..., c], any float dtype; statistics are float32.
      shortcut: of the same shape, or None.
      gain: [c], float32.
      bias: [c], float32.
      activation: elementwise; one object per kind, since each is compiled once.
      epsilon: added to the variance.
      axis_name: mapped axis over which statistics are averaged, or None.
      floor: [c], float32, not negative, with a gradient; None is 0.
    """
    return _forward(y, shortcut, gain, bias, activation, epsilon, axis_name, floor)[0]


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


def _first_pixel(y: Array, axis_name: str | None) -> Array:
    """Returns [c], float32, of the first pixel of the first device's first image."""
    first = jax.lax.stop_gradient(y[(0,) * (y.ndim - 1)]).astype(jnp.float32)
    if axis_name is None:
        return first
    return jax.lax.psum(jnp.where(jax.lax.axis_index(axis_name) == 0, first, 0), axis_name)


def _mean_from(y: Array, shift: Array) -> Array:
    return _channel_means(y.astype(jnp.float32) - shift)[0]


def _variance_about(y: Array, mean: Array) -> Array:
    return _channel_means(jnp.square(y.astype(jnp.float32) - mean))[0]


def _forward(
    y: Array,
    shortcut: Array | None,
    gain: Array,
    bias: Array,
    activation: Activation,
    epsilon: float,
    axis_name: str | None,
    floor: Array | None,
) -> tuple[tuple[Array, Array, Array], tuple[Any, ...]]:
    y, shortcut = floats(y), None if shortcut is None else floats(shortcut)
    # In two passes, as mean(y^2) - mean(y)^2 cancels where the mean is many deviations large.  Counted from a
    # pixel, the mean of a constant channel is that constant exactly, and the variance zero.
    shift = _first_pixel(y, axis_name)
    mean = shift + _average(axis_name, outlined_with(_mean_from)(y, shift))
    variance = _average(axis_name, outlined_with(_variance_about)(y, mean))
    deviation = jax.lax.rsqrt(variance + (epsilon if floor is None else epsilon + floor))
    multiplier = gain * deviation
    offset = bias - mean * multiplier
    # Where y = mean the product and the offset need not cancel to the last digit.
    is_constant = variance == 0
    flat, level = jnp.where(is_constant, 0, multiplier), jnp.where(is_constant, bias, offset)
    z = scale_and_shift(y, shortcut, flat, level, activation)
    return (z, mean, variance), (y, shortcut, mean, deviation, multiplier, offset, floor)


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
) -> tuple[Array, Array | None, Array, Array, Array | None]:
    y, shortcut, mean, deviation, multiplier, offset, floor = residuals
    g, g_mean, g_variance = cotangents
    d, sums = outlined_with(_through_activation, activation)(g, y, shortcut, multiplier, offset, mean)
    count = y.size // y.shape[-1]
    # The sums of this device are its gradients of gain, bias and floor; what flows through the statistics is
    # the average over all devices.
    mean_d, mean_dy, g_mean, g_variance = _average(axis_name, (*sums, g_mean, g_variance))
    # dL/dy = multiplier (d - mean d - (y - mean) mean(d (y - mean)) / var) + dL/dvar 2 (y - mean) / count
    # + dL/dmean / count, by powers of y, since broadcasting a channel's number costs as much as a product.
    of_y = 2 * g_variance / count - multiplier * deviation**2 * mean_dy
    constant = g_mean / count - multiplier * mean_d - mean * of_y
    dy = outlined_with(_linear)(d, y, multiplier, of_y, constant)
    d_gain = sums[1] * deviation * count
    d_floor = None if floor is None else -d_gain * multiplier * deviation / 2
    return dy, None if shortcut is None else d, d_gain, sums[0] * count, d_floor


batch_norm.defvjp(_forward, _backward)
