"""KURE: a penalty on the kurtosis of latent kernels."""

import jax.numpy as jnp
from jax import Array

from bnnjax.config.constraints import KureConfig
from bnnjax.constraints.base import LATENTS, Constraint, Seen, State


def kurtosis(kernel: Array) -> Array:
    """Returns mean(((w - mean) / std)^4) over all entries, [].

    std is the root of the variance with divisor n - 1, as published, plus 1e-12: the kurtosis of a constant
    is 0.  For deviations of at least 1e-4 the kurtosis does not depend on the kernel's scale.

    Args:
      kernel: any shape, n >= 2 entries, float32.
    """
    centred = kernel - jnp.mean(kernel)
    variance = jnp.sum(centred**2) / (kernel.size - 1) + 1e-12
    return jnp.mean((centred**2 / variance) ** 2)


def kure(config: KureConfig) -> Constraint:
    """The penalty strength * mean over layers of (kurtosis(W) - target)^2, on latent kernels.

    A target of 1.8, that of the uniform distribution, is published, with the mean over layers and strength 1,
    for networks that tolerate quantization to any number of bits.  1 is that of two equally likely values, as
    binary weights have; a kernel of n entries with this distribution reaches ((n - 1) / n)^2.  Kurtosis does
    not depend on the kernel's scale: neither a sign nor a batch norm behind it undoes the penalty.

    Source: Shkolnik et al., Robust Quantization: One Model to Rule Them All, NeurIPS 2020, arXiv 2002.07686.

    Args:
      config: strength, target.
    """

    def penalty(seen: Seen, state: State) -> tuple[Array, State]:
        found = jnp.stack([kurtosis(latent) for latent in seen.latents.values()])
        return config.strength * jnp.mean((found - config.target) ** 2), state

    return Constraint(name="kure", needs=frozenset({LATENTS}), penalty=penalty)
