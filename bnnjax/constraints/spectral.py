"""Spectral norm constraint: a penalty on the squared norms of units, or an upper limit of the norms."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.bounds.chain import CLASSIFIER
from bnnjax.config.constraints import SpectralConfig
from bnnjax.constraints.base import After, Constraint, Seen, State
from bnnjax.ops import norms
from bnnjax.runtime.keys import named_key


def _start(name: str, shape: tuple[int, ...]) -> Array:
    vector = jax.random.normal(named_key(jax.random.key(0), name), shape[-1:])
    return vector / jnp.linalg.norm(vector)


def _estimates(
    kernels: Mapping[str, Array], vectors: State, iterations: int
) -> tuple[dict[str, Array], State]:
    """Returns the spectral norm of each kernel as a matrix [o, fan_in], and the vectors for the next call."""
    found = {
        name: norms.power_iteration(kernel.reshape(-1, kernel.shape[-1]).T, vectors[name], iterations)
        for name, kernel in kernels.items()
    }
    return {name: norm for name, (norm, _) in found.items()}, {
        name: left for name, (_, left) in found.items()
    }


def spectral(config: SpectralConfig) -> Constraint:
    """The spectral norm s of each unit: its kernel, with the batch norm folded in, as a matrix [o, fan_in].

    `regularize`: the penalty is strength * sum over units of s^2.  Yoshida & Miyato have lambda / 2 in place
    of strength (a prefactor that is unconfirmed), and norms of the trained kernels, whose scale a batch norm
    behind them cancels; hence the folded kernels here.

    `normalize`: after each update the gains of each unit are multiplied by min(1, radius / s).  Miyato et al.
    divide by s wherever the kernel is used, units of s < 1 too; a box in the gains is our reading for units
    whose kernels are binary.  The classifier has no gain and is left as it is.

    s comes from power iteration, with vectors carried from step to step; it is an estimate from below, exact
    once they have converged, with the gradient u v^T.  The penalty, which is 0 in the form `normalize`,
    updates the vectors, and the projection starts from them.  s is not the operator norm of the convolution,
    from which it differs by a factor of up to the root of the kernel's area (Sedghi et al. 2019, arXiv
    1805.10408).

    Source: Yoshida & Miyato 2017, arXiv 1705.10941; Miyato et al. 2018, arXiv 1802.05957.

    Args:
      config: form, strength, radius, iterations.
    """

    def init(shapes: Mapping[str, tuple[int, ...]]) -> State:
        return {name: _start(name, shape) for name, shape in shapes.items()}

    def penalty(seen: Seen, state: State) -> tuple[Array, State]:
        found, state = _estimates(seen.kernels, state, config.iterations)
        strength = config.strength if config.form == "regularize" else 0.0
        return strength * sum((norm**2 for norm in found.values()), start=jnp.zeros(())), state

    def project_gains(after: After, state: State) -> Mapping[str, Array]:
        kernels = {name: kernel for name, kernel in after.kernels.items() if name != CLASSIFIER}
        found, _ = _estimates(kernels, state, config.iterations)
        return {
            name: after.units[name].gain * jnp.minimum(1, config.radius / jnp.maximum(norm, 1e-30))
            for name, norm in found.items()
        }

    return Constraint(
        name="spectral",
        needs=frozenset({"kernels"}),
        init=init,
        penalty=penalty,
        project_gains=project_gains if config.form == "normalize" else None,
    )
