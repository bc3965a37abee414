"""Integers as floats, since scales, averages and gradients of integers are none."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike


def floats(x: ArrayLike) -> Array:
    """Returns x in its own float dtype; integers and booleans become float32.

    Raises:
      ValueError: if x is neither, e.g. complex.
    """
    x = jnp.asarray(x)
    if jnp.issubdtype(x.dtype, jnp.floating):
        return x
    if jnp.issubdtype(x.dtype, jnp.integer) or x.dtype == bool:
        return x.astype(jnp.float32)
    raise ValueError(f"an array must be of floats, or of integers, which become float32; got {x.dtype}")
