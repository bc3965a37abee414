"""Constraints that make a network robust, one file each; all have the shape of `Constraint`."""

from bnnjax.bounds import Chain
from bnnjax.config import Config
from bnnjax.constraints.base import Constraint
from bnnjax.constraints.l1inf import l1inf

__all__ = ["Constraint", "l1inf", "make_constraint"]


def make_constraint(config: Config, chain: Chain) -> Constraint:
    """Returns the constraint that the configuration names, on the network `chain`."""
    if config.constraint == "l1inf":
        return l1inf(config.l1inf, chain)
    return Constraint(name="none")
