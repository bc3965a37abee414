"""The target of attacks: a function from images to logits, and its arrays."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.types import Tree


@partial(jax.tree_util.register_dataclass, data_fields=["arrays", "temperature"], meta_fields=["function"])
@dataclass(frozen=True, eq=False)
class Target:
    """A network under attack, images -> logits [n, classes]; a pytree, whose leaves are its arrays.

    Compiled programs take the arrays as arguments.  As constants, they would require a compilation for each
    network, which takes longer than the attack on a small network.

    Attributes:
      function: (*arrays, images) -> logits, or (*arrays, images, temperature) where a temperature is set.
      arrays: its first arguments, e.g. parameters and batch statistics.
      temperature: of the surrogate gradients, [] above 0; None for the function's own gradients, which needs
        another program.
    """

    function: Callable[..., Array]
    arrays: tuple[Tree, ...] = ()
    temperature: Array | None = None

    def __call__(self, images: Array) -> Array:
        temperature = () if self.temperature is None else (self.temperature,)
        return self.function(*self.arrays, images, *temperature)

    def at(self, temperature: Array | float | None) -> "Target":
        """Returns the same function with the gradients of another temperature."""
        return replace(self, temperature=None if temperature is None else jnp.float32(temperature))
