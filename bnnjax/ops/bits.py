"""Bit packing of two-valued arrays, and products that keep their codes packed for the backward pass."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.ops.floats import floats
from bnnjax.ops.outline import outlined
from bnnjax.ops.recompute import held_back

WORD = 8  # bits


class Packed(NamedTuple):
    """An array of two values."""

    words: Array  # uint8 [..., ceil(c / 8)], lowest bit first; 1 is the higher value
    low: Array  # [], of the array's dtype
    high: Array  # likewise


def pack(x: Array) -> Packed:
    """Returns an array of at most two values, [..., c], as bits: 1/32 of its size in float32."""
    return Packed(*_outlined_pack(floats(x)))


def unpack(packed: Packed, channels: int) -> Array:
    """Returns the array that was packed.

    Args:
      packed: from `pack`.
      channels: size of the array's last axis.
    """
    return _outlined_unpack(*packed, channels)


def keeping_bits(product: Callable[..., Array]) -> Callable[..., Array]:
    """Returns product(codes, kernel, *rest) whose gradient keeps the codes, which have two values, as bits.

    Args:
      product: differentiable; the last axis of codes is the last but one of the kernel.
    """

    @jax.custom_vjp
    def call(codes: Array, kernel: Array, *rest: Array | None) -> Array:
        return product(codes, kernel, *rest)

    def forward(codes: Array, kernel: Array, *rest: Array | None) -> tuple[Array, tuple[Any, ...]]:
        return call(codes, kernel, *rest), (pack(codes), kernel, *rest)

    def backward(residuals: tuple[Any, ...], g: Array) -> tuple[Array, ...]:
        packed, kernel, *rest = residuals
        # Otherwise a compiler may unpack them in the forward pass already.
        packed = packed._replace(high=held_back(packed.high, g))
        return jax.vjp(product, unpack(packed, kernel.shape[-2]), kernel, *rest)[1](g)

    call.defvjp(forward, backward)
    return lambda codes, kernel, *rest: call(floats(codes), floats(kernel), *rest)


def _pack(x: Array) -> tuple[Array, Array, Array]:
    low, high = jnp.min(x), jnp.max(x)
    missing = -x.shape[-1] % WORD
    bits = jnp.pad(x > low, [*[(0, 0)] * (x.ndim - 1), (0, missing)]).reshape(*x.shape[:-1], -1, WORD)
    values = jnp.left_shift(jnp.uint8(1), jnp.arange(WORD, dtype=jnp.uint8))
    return jnp.sum(bits * values, -1, dtype=jnp.uint8), low, high


def _unpack(words: Array, low: Array, high: Array, channels: int) -> Array:
    bits = jnp.right_shift(words[..., None], jnp.arange(WORD, dtype=jnp.uint8)) & 1
    return jnp.where(bits.reshape(*words.shape[:-1], -1)[..., :channels] == 1, high, low)


_outlined_pack = outlined(_pack)
_outlined_unpack = outlined(_unpack, (3,))
