"""VGG-Small: a chain of binarized units without shortcuts."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
from jax import Array

from bnnjax.bounds.chain import CLASSIFIER, Chain
from bnnjax.methods import Context, Method
from bnnjax.methods.fp import fp
from bnnjax.nn.activation import slope_behind
from bnnjax.nn.recompute import call, recompute
from bnnjax.nn.units import Head, Unit, normalized, record_stage
from bnnjax.ops.smoothing import binomial_blur


class VGG(nn.Module):
    """A 3x3 stem, units of which every other one pools, a full-precision dense classifier.

    For `record_stage` a stage ends with each unit that pools.

    Attributes:
      method: the binarization method of all units but the stem.
      widths: channels of the stem and of each unit; units 1, 3, 5, ... halve the image.
      classes: outputs.
      axis_name: mapped axis of the batch norms.
      remat: whether training keeps only the inputs of units for the backward pass.
      pack_codes: see `BinaryConv`.
      radius_of: see `Unit`.
      stem_blur: whether images are blurred before the stem, see `binomial_blur`.
    """

    method: Method
    widths: tuple[int, ...]
    classes: int
    axis_name: str | None = None
    remat: bool = False
    pack_codes: bool = False
    radius_of: Callable[[str], float] | None = None
    stem_blur: bool = False

    @property
    def least_size(self) -> int:
        """Height and width below which nothing is left of an image after the poolings."""
        return 2 ** (len(self.widths) // 2)

    @property
    def chain(self) -> Chain:
        """The structure of the network for its bound."""
        units = ["stem", *(f"conv{n}" for n in range(1, len(self.widths)))]
        act = self.method.nonlinearity
        return (*(node for unit in units for node in (unit, *slope_behind(unit, act))), CLASSIFIER)

    @nn.compact
    def __call__(self, images: Array, context: Context, train: bool) -> Array:
        """[batch, h, w, 3], normalized, of the compute dtype -> logits [batch, classes], float32.

        Raises:
          ValueError: if the images are not floats, or not four-dimensional.
        """
        images = normalized(images)
        if self.stem_blur:
            images = binomial_blur(images)
        common: dict[str, Any] = {
            "activation": self.method.nonlinearity,
            "axis_name": self.axis_name,
            "radius_of": self.radius_of,
        }
        run = recompute if self.remat and train else call

        def through(unit: nn.Module, x: Array, context: Context) -> Array:
            return unit(x, context, train)

        x = run(through, Unit(self.widths[0], fp(), name="stem", **common), images, context)
        for n, width in enumerate(self.widths[1:], start=1):
            pool, pack = n % 2 == 1, self.pack_codes
            unit = Unit(width, self.method, pool=pool, pack_codes=pack, name=f"conv{n}", **common)
            x = run(through, unit, x, context)
            if n % 2 == 1:
                record_stage(self, x)
        return Head(self.classes, normalize=False, name=CLASSIFIER)(x.reshape(len(x), -1), train)
