"""Random keys by name."""

import zlib

import jax
from jax import Array


def named_key(key: Array, name: str) -> Array:
    """Returns a key of its own for each name, the same in every process and Python version.

    Args:
      key: what all names have in common.
      name: e.g. of a layer or of an attack.
    """
    return jax.random.fold_in(key, zlib.crc32(name.encode()))
