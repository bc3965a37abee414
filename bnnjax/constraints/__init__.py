"""Constraints that make networks robust: penalties and projections, one file each, with one interface."""

from collections.abc import Callable

from bnnjax.bounds.chain import Chain
from bnnjax.config.resolved import ResolvedConfig
from bnnjax.constraints.base import After, Constraint, Seen, combined
from bnnjax.constraints.gradpenalty import gradpenalty
from bnnjax.constraints.kure import kure
from bnnjax.constraints.l1inf import l1inf
from bnnjax.constraints.l2 import l2
from bnnjax.constraints.lcr import lcr
from bnnjax.constraints.parseval import parseval
from bnnjax.constraints.spectral import spectral

# A new constraint is a file, its settings in bnnjax.config.constraints, and a line here.
CONSTRAINTS: dict[str, Callable[[ResolvedConfig, Chain], Constraint]] = {
    "l1inf": lambda config, chain: l1inf(config.l1inf, chain),
    "lcr": lambda config, chain: lcr(config.lcr, chain, config.batch_size),
    "spectral": lambda config, chain: spectral(config.spectral),
    "kure": lambda config, chain: kure(config.kure),
    "parseval": lambda config, chain: parseval(config.parseval),
    "l2": lambda config, chain: l2(config.l2),
    "gradpenalty": lambda config, chain: gradpenalty(config.gradpenalty),
}

__all__ = [
    "CONSTRAINTS",
    "After",
    "Constraint",
    "Seen",
    "gradpenalty",
    "kure",
    "l1inf",
    "l2",
    "lcr",
    "make_constraint",
    "parseval",
    "spectral",
]


def make_constraint(config: ResolvedConfig, chain: Chain) -> Constraint:
    """Returns the constraint that the configuration names, or the combination, for the network of `chain`."""
    return combined([CONSTRAINTS[name](config, chain) for name in config.constraints])
