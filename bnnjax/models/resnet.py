"""ResNets: a full-precision stem, binarized blocks, a full-precision classifier."""

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from bnnjax.bounds.chain import CLASSIFIER, Chain
from bnnjax.config.names import Downsample
from bnnjax.methods import Context, Method
from bnnjax.methods.fp import fp
from bnnjax.nn.activation import slope_behind
from bnnjax.nn.blocks import Block, Structure, block_chain
from bnnjax.nn.recompute import call, recompute
from bnnjax.nn.units import Head, Unit, normalized, record_stage
from bnnjax.ops.pool import max_pool
from bnnjax.ops.smoothing import binomial_blur


class ResNet(nn.Module):
    """Stem, stages of residual blocks (each but the first halves the image), average pooling, classifier.

    Attributes:
      method: the binarization method of the blocks.
      structure: plain or bireal.
      widths: channels of each stage; the first is the stem's too.
      blocks: blocks of each stage.
      projection: 1x1 units as shortcuts between stages (option B); else zero padding (option A).
      classes: outputs.
      stem: cifar is a 3x3 unit; imagenet is a 7x7 one of stride 2 and a 3x3 max pooling of stride 2, whose
        bound is 1.
      axis_name: mapped axis of the batch norms.
      remat: whether training keeps only the inputs of stem and blocks for the backward pass.
      pack_codes: see `BinaryConv`.
      radius_of: see `Unit`.
      downsample: of shortcuts without projection, see `pad_shortcut`.
      stem_blur: whether images are blurred before the stem, see `binomial_blur`.
    """

    method: Method
    structure: Structure
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    projection: bool
    classes: int
    stem: Literal["cifar", "imagenet"] = "cifar"
    axis_name: str | None = None
    remat: bool = False
    pack_codes: bool = False
    radius_of: Callable[[str], float] | None = None
    downsample: Downsample = "stride"
    stem_blur: bool = False

    def _layout(self) -> list[tuple[str, int, int]]:
        """Returns (name, features, stride) of each block."""
        return [
            (f"stage{s + 1}_block{b + 1}", width, 2 if s and not b else 1)
            for s, (width, count) in enumerate(zip(self.widths, self.blocks, strict=True))
            for b in range(count)
        ]

    @property
    def least_size(self) -> int:
        """Height and width that an image must have."""
        return 1

    @property
    def chain(self) -> Chain:
        """The structure of the network for its bound."""
        act = self.method.nonlinearity
        blocks = [
            block_chain(name, self.structure, self.projection and stride > 1, act)
            for name, _, stride in self._layout()
        ]
        return ("stem", *slope_behind("stem", act), *(node for block in blocks for node in block), CLASSIFIER)

    @nn.compact
    def __call__(self, images: Array, context: Context, train: bool) -> Array:
        """[batch, h, w, 3], normalized, of the compute dtype -> logits [batch, classes], float32.

        Raises:
          ValueError: if the images are not floats, or not four-dimensional.
        """
        images = normalized(images)
        if self.stem_blur:
            images = binomial_blur(images)
        kernel_size, stride = (3, 1) if self.stem == "cifar" else (7, 2)
        common: dict[str, Any] = {"axis_name": self.axis_name, "radius_of": self.radius_of}
        run = recompute if self.remat and train else call

        def through_stem(unit: nn.Module, x: Array, context: Context) -> Array:
            x = unit(x, context, train)
            return max_pool(x, 3, 2, 1) if self.stem == "imagenet" else x

        def through_block(block: nn.Module, x: Array, context: Context) -> Array:
            return block(x, context, train)

        stem = Unit(
            self.widths[0],
            fp(),
            kernel_size,
            stride,
            activation=self.method.nonlinearity,
            name="stem",
            **common,
        )
        x = run(through_stem, stem, images, context)
        ends = {f"stage{s + 1}_block{count}" for s, count in enumerate(self.blocks)}
        for name, width, stride in self._layout():
            block = Block(
                width,
                stride,
                self.method,
                self.structure,
                self.projection,
                pack_codes=self.pack_codes,
                downsample=self.downsample,
                name=name,
                **common,
            )
            x = run(through_block, block, x, context)
            if name in ends:
                record_stage(self, x)
        return Head(self.classes, axis_name=self.axis_name, name=CLASSIFIER)(jnp.mean(x, axis=(1, 2)), train)
