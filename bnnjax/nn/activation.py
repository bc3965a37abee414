"""Learned activations: their parameters, and their place in the bound."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from bnnjax.bounds.chain import Chain, Slope
from bnnjax.methods.base import LearnedActivation
from bnnjax.ops.channelwise import channelwise
from bnnjax.ops.floats import floats

Nonlinearity = Callable[[Array], Array] | LearnedActivation


class Activation(nn.Module):
    """A learned activation; its parameters are `learned`, [c] each, float32, without weight decay.

    Attributes:
      kind: what it computes.
    """

    kind: LearnedActivation

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        """[batch, ..., c] -> the same shape and dtype, and each channel's Lipschitz constant, [c] float32."""
        x = floats(x)
        channels = x.shape[-1]
        learned = self.param(
            "learned",
            lambda key: {name: jnp.full(channels, value) for name, value in self.kind.learned.items()},
        )
        return channelwise(self.kind.apply, x, learned), self.kind.lipschitz(learned)


def slope_behind(unit: str, nonlinearity: Nonlinearity) -> Chain:
    """Returns the part of the chain for the nonlinearity behind a unit: empty, unless it is learned."""
    return (Slope(unit),) if isinstance(nonlinearity, LearnedActivation) else ()
