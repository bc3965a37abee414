"""A penalty on the L2 norm of kernels."""

import jax.numpy as jnp
from jax import Array

from bnnjax.config.constraints import L2Config
from bnnjax.constraints.base import LATENTS, Constraint, Seen, State


def l2(config: L2Config) -> Constraint:
    """The penalty strength * sum of the squares of all entries of all kernels.

    Targets: `folded`, the kernels of all units with their batch norm folded in; `latent`, latent kernels,
    whose norm has no effect on the network's output where a sign or a batch norm follows, and acts only on
    the effective learning rate, as weight decay does.  The square of a unit's folded norm is the sum of the
    squares of all its singular values; `spectral` takes the largest.

    Args:
      config: strength, target.
    """

    def penalty(seen: Seen, state: State) -> tuple[Array, State]:
        kernels = seen.kernels if config.target == "folded" else seen.latents
        total = sum((jnp.sum(kernel**2) for kernel in kernels.values()), start=jnp.zeros(()))
        return config.strength * total, state

    return Constraint(
        name="l2",
        needs=frozenset({"kernels" if config.target == "folded" else LATENTS}),
        penalty=penalty,
    )
