"""The Lipschitz bound L of a network's surrogate with respect to the max norm.

In the surrogate network f every sign (or quantizer) of activations is replaced by the clip that it is trained
through.  For all inputs x and d, max|f(x + d) - f(x)| <= L max|d|.  The true sign has no Lipschitz constant,
so L compares networks; it certifies nothing.
"""

from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array

from bnnjax.bounds.chain import Chain, Residual, Slope, Units, unit_names

OFF = 1e-3  # a unit whose norm is below this is dead: it passes (almost) nothing on


def slopes(units: Units) -> dict[str | Slope, Array]:
    """Returns the Lipschitz constant, [], of the activation behind each unit, by the activation's `Slope`."""
    return {Slope(name): jnp.max(unit.slope) for name, unit in units.items()}


def log_bound(chain: Chain, factors: Mapping[str | Slope, Array]) -> Array:
    """Returns log L in nats: units and learned activations add their logs, a residual block adds
    log(L(shortcut) + L(branch)).

    Args:
      chain: the network.
      factors: [] for each unit and each learned activation in the chain.  Those below 1e-30 count as 1e-30.
    """
    total = jnp.zeros((), jnp.float32)
    for node in chain:
        if isinstance(node, Residual):
            total += jnp.logaddexp(log_bound(node.shortcut, factors), log_bound(node.branch, factors))
        else:
            total += jnp.log(jnp.maximum(factors[node], 1e-30))
    return total


def network_log_bound(chain: Chain, units: Units) -> Array:
    """Returns log L of the network at inference, from the units' folded norms and their slopes."""
    return log_bound(chain, slopes(units) | {name: unit.norm for name, unit in units.items()})


def units_off(units: Units) -> Array:
    """Returns how many units are dead, with a norm below 1e-3, int32 []."""
    return sum((jnp.int32(unit.norm < OFF) for unit in units.values()), start=jnp.int32(0))


def block_table(chain: Chain, factors: Mapping[str | Slope, Array]) -> list[dict[str, object]]:
    """Returns one record per residual block for reports, in the order of the network, outer before inner.

    Args:
      chain: the network.
      factors: as in `log_bound`.

    Returns:
      Records with the `block`'s last unit, `log_branch`, `log_shortcut` and `log_block`, the logarithm of the
      sum of the two bounds, all in nats.  What the shortcut adds to the branch is log_block - log_branch.
    """
    records: list[dict[str, object]] = []
    for node in chain:
        if isinstance(node, Residual):
            branch, shortcut = (float(log_bound(path, factors)) for path in (node.branch, node.shortcut))
            records.append(
                {
                    "block": list(unit_names(node.branch))[-1],
                    "log_branch": branch,
                    "log_shortcut": shortcut,
                    "log_block": float(np.logaddexp(branch, shortcut)),
                }
            )
            records += block_table(node.shortcut, factors) + block_table(node.branch, factors)
    return records


def unit_table(
    chain: Chain, kernels: Mapping[str, np.ndarray], is_binary: Callable[[str], bool]
) -> list[dict[str, object]]:
    """Returns one record per unit for reports, in the order of the network.

    Args:
      chain: the network.
      kernels: [..., o] for each name, the kernel with its batch norm folded in.
      is_binary: whether the unit of that name is quantized.

    Returns:
      Records with `unit`, `kind`, `fan_in`, the norm `l1inf`, the spectral norm `spectral` (by singular
      values), the max-norm bound `spectral_bound` = sqrt(fan_in) * spectral that follows from it, their ratio
      `tightness` (Zheng et al., ICML 2025, Eq. 17; at most 1) and whether the unit is `off`.
    """
    records: list[dict[str, object]] = []
    for name in unit_names(chain):
        matrix = np.asarray(kernels[name], np.float64).reshape(-1, kernels[name].shape[-1])
        l1inf = float(np.abs(matrix).sum(0).max())
        spectral = float(np.linalg.norm(matrix, 2))
        spectral_bound = float(np.sqrt(matrix.shape[0]) * spectral)
        records.append(
            {
                "unit": name,
                "kind": "binary" if is_binary(name) else "full precision",
                "fan_in": matrix.shape[0],
                "l1inf": l1inf,
                "spectral": spectral,
                "spectral_bound": spectral_bound,
                "tightness": l1inf / spectral_bound if spectral_bound else 1.0,
                "off": l1inf < OFF,
            }
        )
    return records
