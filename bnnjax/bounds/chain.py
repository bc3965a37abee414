"""The structure of a network for its bound: units, residual blocks and learned activations in order."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from jax import Array

from bnnjax.ops import norms

CLASSIFIER = "head"  # in every network the unit that has no batch norm behind it, hence no gain of its own


class UnitStats(NamedTuple):
    """What a forward pass records of one unit, for bounds and constraints; all float32."""

    l1: Array  # [o], ||What_o||_1
    latent_l1: Array  # [o], ||W_o||_1
    scale: Array  # [o], the scaling factor of each filter; 1 where the method has none
    gain: Array  # [o], the batch norm's g
    variance: Array  # [o], its running variance + epsilon
    batch_variance: Array  # [o], the variance of this batch + epsilon, differentiable
    slope: Array  # [o], the Lipschitz constant of the activation behind the unit where it is learned, else 1

    @property
    def norm(self) -> Array:
        """The unit's L1,inf norm, []."""
        return norms.maximum(norms.folded_l1(self.l1, self.gain, self.variance))


Units = Mapping[str, UnitStats]


@dataclass(frozen=True)
class Residual:
    """A sum of two paths: its bound is L(shortcut) + L(branch)."""

    shortcut: "Chain"
    branch: "Chain"


@dataclass(frozen=True)
class Slope:
    """The learned activation behind the named unit, or behind the residual sum that this unit ends."""

    unit: str


# A network as its bound needs it: the names of units, residual blocks and learned activations, in order.
# Everything else between them (hardtanh, ReLU, max and average pooling, zero-padded channels) has a bound
# of 1.
Chain = tuple["str | Residual | Slope", ...]


def unit_names(chain: Chain) -> Iterator[str]:
    """Yields the names of a chain's units in the order of the network."""
    for node in chain:
        if isinstance(node, Residual):
            yield from unit_names(node.shortcut)
            yield from unit_names(node.branch)
        elif isinstance(node, str):
            yield node
