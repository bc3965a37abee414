"""A noise on signals as one program, and what it refuses before it is traced."""

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.runtime.inputs import require_finite


class CompiledNoise:
    """A noise as one program, which signals are checked for before they are traced."""

    def __init__(self, static: tuple[str, ...], noise: Callable[..., Array]) -> None:
        self.program = jax.jit(noise, static_argnames=static)
        update_wrapper(self, noise)

    def __call__(self, key: Array, signals: Array, *given: Any, **settings: Any) -> Array:
        signals = jnp.asarray(signals)
        if signals.ndim != 3 or not jnp.issubdtype(signals.dtype, jnp.floating):
            raise ValueError(
                f"signals must be [batch, time, channel] of a float type; got {signals.dtype} {signals.shape}"
            )
        require_finite("signals", signals)
        return self.program(key, signals, *given, **settings)


def compiled(*static: str) -> Callable[[Callable[..., Array]], CompiledNoise]:
    """Returns a decorator that compiles a noise, whose settings of these names are static."""
    return partial(CompiledNoise, static)
