"""Residual blocks, plain or with Bi-Real Net's shortcut around every convolution."""

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from bnnjax.bounds.chain import Chain, Residual
from bnnjax.config.names import Downsample
from bnnjax.methods import Context, Method
from bnnjax.methods.fp import fp
from bnnjax.nn.activation import Nonlinearity, slope_behind
from bnnjax.nn.units import Unit
from bnnjax.ops.smoothing import block_means

Structure = Literal["plain", "bireal"]


def pad_shortcut(x: Array, features: int, stride: int, downsample: Downsample = "stride") -> Array:
    """Returns the smaller image with zero channels added on both sides: ResNet's option A.

    Args:
      x: [batch, h, w, c].
      features: channels of the result, at least c.
      stride: of both axes.
      downsample: stride takes every stride-th pixel, average the mean of stride x stride pixels.
    """
    missing = features - x.shape[-1]
    before = missing // 2
    y = block_means(x, stride) if downsample == "average" else x[:, ::stride, ::stride]
    return jnp.pad(y, ((0, 0), (0, 0), (0, 0), (before, missing - before)))


class Block(nn.Module):
    """Two quantized 3x3 units and their shortcuts, with act = method.nonlinearity:

        plain    h = act(unit1(x))                 y = act(unit2(h) + shortcut(x))
        bireal   h = act(unit1(x) + shortcut(x))   y = act(unit2(h) + h)

    Where act is learned, each of the two has parameters of its own.

    Attributes:
      features: output channels.
      stride: of the first convolution.
      method: the binarization method.
      structure: plain or bireal.
      projection: whether a shortcut that changes shape is a full-precision 1x1 unit; else it pads zeros.
      axis_name: mapped axis of the batch norms.
      pack_codes: see `BinaryConv`.
      radius_of: see `Unit`.
      downsample: of a padded shortcut, see `pad_shortcut`.
    """

    features: int
    stride: int
    method: Method
    structure: Structure
    projection: bool
    axis_name: str | None = None
    pack_codes: bool = False
    radius_of: Callable[[str], float] | None = None
    downsample: Downsample = "stride"

    @nn.compact
    def __call__(self, x: Array, context: Context, train: bool) -> Array:
        """[batch, h, w, c] -> [batch, h / stride, w / stride, features]."""
        common: dict[str, Any] = {"axis_name": self.axis_name, "radius_of": self.radius_of}
        quantized = {"activation": self.method.nonlinearity, "pack_codes": self.pack_codes, **common}
        unit1 = Unit(self.features, self.method, stride=self.stride, name="conv1", **quantized)
        unit2 = Unit(self.features, self.method, name="conv2", **quantized)
        if self.stride == 1 and x.shape[-1] == self.features:
            shortcut = x
        elif self.projection:
            unit = Unit(self.features, fp(), 1, self.stride, name="shortcut", **common)
            shortcut = unit(x, context, train)
        else:
            shortcut = pad_shortcut(x, self.features, self.stride, self.downsample)
        if self.structure == "plain":
            return unit2(unit1(x, context, train), context, train, shortcut)
        h = unit1(x, context, train, shortcut)
        return unit2(h, context, train, h)


def block_chain(name: str, structure: Structure, has_projection: bool, nonlinearity: Nonlinearity) -> Chain:
    """Returns the chain of the named block, for bounds.

    Args:
      name: of the block in its network.
      structure: plain or bireal.
      has_projection: whether its shortcut is a 1x1 unit.
      nonlinearity: the method's.
    """
    shortcut: Chain = (f"{name}/shortcut",) if has_projection else ()
    conv1, conv2 = f"{name}/conv1", f"{name}/conv2"
    slope1, slope2 = slope_behind(conv1, nonlinearity), slope_behind(conv2, nonlinearity)
    if structure == "plain":
        return (Residual(shortcut, (conv1, *slope1, conv2)), *slope2)
    return (Residual(shortcut, (conv1,)), *slope1, Residual((), (conv2,)), *slope2)
