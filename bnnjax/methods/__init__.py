"""Binarization methods, one file each.

A new method is a file with a function `name(wbits, abits) -> Method` and a line in METHODS.
"""

from collections.abc import Callable
from functools import cache

from bnnjax.config.recipe import Recipe
from bnnjax.methods.abcnet import abcnet
from bnnjax.methods.base import Context, Initial, Method, Quantized, Site, Training, Values
from bnnjax.methods.birealnet import birealnet
from bnnjax.methods.bnn import bnn
from bnnjax.methods.bnnplus import bnnplus
from bnnjax.methods.bwn import bwn
from bnnjax.methods.bwnh import bwnh
from bnnjax.methods.dorefa import dorefa
from bnnjax.methods.dsq import dsq
from bnnjax.methods.fda import fda
from bnnjax.methods.fp import fp
from bnnjax.methods.hwgq import hwgq
from bnnjax.methods.irnet import irnet
from bnnjax.methods.lab import lab
from bnnjax.methods.lqnet import lqnet
from bnnjax.methods.rad import rad
from bnnjax.methods.rbnn import rbnn
from bnnjax.methods.reactnet import reactnet
from bnnjax.methods.recu import recu
from bnnjax.methods.reste import reste
from bnnjax.methods.stochastic import sqbwn, sqtwn
from bnnjax.methods.twn import twn
from bnnjax.methods.xnor import xnor
from bnnjax.methods.xnorplusplus import xnorplusplus

METHODS: dict[str, Callable[..., Method]] = {
    "fp": fp,
    "bnn": bnn,
    "xnor": xnor,
    "bwn": bwn,
    "dorefa": dorefa,
    "birealnet": birealnet,
    "irnet": irnet,
    "abcnet": abcnet,
    "bnnplus": bnnplus,
    "bwnh": bwnh,
    "dsq": dsq,
    "fda": fda,
    "hwgq": hwgq,
    "lab": lab,
    "lqnet": lqnet,
    "rad": rad,
    "rbnn": rbnn,
    "reactnet": reactnet,
    "recu": recu,
    "reste": reste,
    "sqbwn": sqbwn,
    "sqtwn": sqtwn,
    "twn": twn,
    "xnorplusplus": xnorplusplus,
}
ALIASES = {"bwhn": "bwnh"}  # a spelling that tables often print

__all__ = [
    "METHODS",
    "Context",
    "Initial",
    "Method",
    "Quantized",
    "Recipe",
    "Site",
    "Training",
    "Values",
    "make_method",
]


@cache
def make_method(name: str, wbits: int | None = None, abits: int | None = None) -> Method:
    """Returns the named method at these bits; None is the method's own default.

    Built once per process, so that JAX's caches, which are keyed by a method's functions, are hit.

    Raises:
      ValueError: for an unknown name (lists the known) or bits the method does not define (lists them).
    """
    name = ALIASES.get(name, name)
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}; allowed are {', '.join(METHODS)}")
    bits = {"wbits": wbits, "abits": abits}
    return METHODS[name](**{key: value for key, value in bits.items() if value is not None})
