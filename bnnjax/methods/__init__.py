"""Binarization methods, one file each.

A new method is a file with a function `name(wbits, abits) -> Method` and a line in METHODS.
"""

from collections.abc import Callable

from bnnjax.config import Recipe
from bnnjax.methods.base import Initial, Method, Quantized, Site, Values
from bnnjax.methods.birealnet import birealnet
from bnnjax.methods.bnn import bnn
from bnnjax.methods.dorefa import dorefa
from bnnjax.methods.dsq import dsq
from bnnjax.methods.fp import fp
from bnnjax.methods.irnet import irnet
from bnnjax.methods.lqnet import lqnet
from bnnjax.methods.xnor import xnor
from bnnjax.methods.xnorplusplus import xnorplusplus

METHODS: dict[str, Callable[..., Method]] = {
    "fp": fp,
    "bnn": bnn,
    "xnor": xnor,
    "dorefa": dorefa,
    "birealnet": birealnet,
    "irnet": irnet,
    "dsq": dsq,
    "lqnet": lqnet,
    "xnorplusplus": xnorplusplus,
}

__all__ = ["METHODS", "Initial", "Method", "Quantized", "Recipe", "Site", "Values", "make_method"]


def make_method(name: str, wbits: int | None = None, abits: int | None = None) -> Method:
    """Returns the method of that name at those bits; None is the method's own default.

    Raises:
      ValueError: for an unknown name (lists the known) or bits the method does not define (lists them).
    """
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}; allowed are {', '.join(METHODS)}")
    bits = {"wbits": wbits, "abits": abits}
    return METHODS[name](**{key: value for key, value in bits.items() if value is not None})
