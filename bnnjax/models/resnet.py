"""ResNets for 32x32 images: a full-precision stem, binarized blocks, a full-precision classifier."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from bnnjax.bounds import Chain
from bnnjax.methods import Method, Values
from bnnjax.methods.fp import fp
from bnnjax.nn.blocks import Block, Structure, block_chain
from bnnjax.nn.units import Head, Unit


class ResNet(nn.Module):
    """Stem 3x3, stages of residual blocks, each but the first halving the image, average, classifier.

    Attributes:
      method: the binarization method of the blocks.
      structure: plain or bireal.
      widths: channels of each stage; the first is the stem's too.
      blocks: blocks of each stage.
      projection: 1x1 units as shortcuts between stages (option B); else zero padding (option A).
      classes: outputs.
      axis_name: mapped axis of the batch norms.
    """

    method: Method
    structure: Structure
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    projection: bool
    classes: int
    axis_name: str | None = None

    def _layout(self) -> list[tuple[str, int, int]]:
        """Returns (name, features, stride) of each block."""
        return [
            (f"stage{s + 1}_block{b + 1}", width, 2 if s and not b else 1)
            for s, (width, count) in enumerate(zip(self.widths, self.blocks, strict=True))
            for b in range(count)
        ]

    @property
    def chain(self) -> Chain:
        """The network as its bound sees it."""
        blocks = [
            block_chain(name, self.structure, self.projection and stride > 1)
            for name, _, stride in self._layout()
        ]
        return ("stem", *(node for block in blocks for node in block), "head")

    @nn.compact
    def __call__(self, images: Array, schedule: Values, train: bool) -> Array:
        """[batch, h, w, 3] of the compute dtype -> logits [batch, classes], float32."""
        act = self.method.nonlinearity
        stem = Unit(self.widths[0], fp(), activation=act, axis_name=self.axis_name, name="stem")
        x = stem(images, schedule, train)
        for name, width, stride in self._layout():
            block = Block(
                width, stride, self.method, self.structure, self.projection, self.axis_name, name=name
            )
            x = block(x, schedule, train)
        return Head(self.classes, axis_name=self.axis_name, name="head")(jnp.mean(x, axis=(1, 2)), train)
