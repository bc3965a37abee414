"""Figures of a network for records and reports: its bound, dead units, a table of its units."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
from jax import Array

from bnnjax.bounds.lipschitz import network_log_bound, unit_table, units_off
from bnnjax.models.network import Network, latents_by_unit
from bnnjax.train.parallel import once_options
from bnnjax.types import Tree


def tabulate_units(network: Network, params: Tree, batch_stats: Tree) -> list[dict[str, Any]]:
    """Returns the `unit_table` of a trained network."""
    kernels = jax.jit(network.kernels, compiler_options=once_options())(params, batch_stats)
    return unit_table(network.chain, jax.device_get(kernels), latents_by_unit(params).__contains__)


@dataclass(frozen=True, eq=False)
class Measure:
    """(params, batch_stats) -> `log_lipschitz_bound` in nats and the number of `units_off`."""

    network: Network

    def figures(self, params: Tree, batch_stats: Tree) -> tuple[Array, Array]:
        """Returns log L, [], and how many units are dead, int32 []."""
        units = self.network.units(params, batch_stats)
        return network_log_bound(self.network.chain, units), units_off(units)

    @cached_property
    def _compiled(self) -> jax.stages.Wrapped:
        return jax.jit(self.figures)

    def __call__(self, params: Tree, batch_stats: Tree) -> dict[str, float]:
        bound, off = self._compiled(params, batch_stats)
        return {"log_lipschitz_bound": float(bound), "units_off": int(off)}
