"""Random keys by name."""

import zlib

import jax
from jax import Array


def named_key(key: Array, name: str) -> Array:
    """Returns a key for each name, the same in every process and Python version.

    Args:
      key: the key that all names share.
      name: e.g. of a layer or of an attack.
    """
    return jax.random.fold_in(key, zlib.crc32(name.encode()))
