"""ResNets: a full-precision stem, binarized blocks, a full-precision classifier."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from bnnjax.bounds import CLASSIFIER, Chain
from bnnjax.methods import Method, Values
from bnnjax.methods.fp import fp
from bnnjax.nn.activation import slope_behind
from bnnjax.nn.blocks import Block, Structure, block_chain
from bnnjax.nn.units import Head, Unit, record_stage


class ResNet(nn.Module):
    """Stem, stages of residual blocks, each but the first halving the image, average, classifier.

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
    """

    method: Method
    structure: Structure
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    projection: bool
    classes: int
    stem: Literal["cifar", "imagenet"] = "cifar"
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
        act = self.method.nonlinearity
        blocks = [
            block_chain(name, self.structure, self.projection and stride > 1, act)
            for name, _, stride in self._layout()
        ]
        return ("stem", *slope_behind("stem", act), *(node for block in blocks for node in block), CLASSIFIER)

    @nn.compact
    def __call__(self, images: Array, schedule: Values, train: bool) -> Array:
        """[batch, h, w, 3] of the compute dtype -> logits [batch, classes], float32."""
        act = self.method.nonlinearity
        kernel_size, stride = (3, 1) if self.stem == "cifar" else (7, 2)
        stem = Unit(
            self.widths[0], fp(), kernel_size, stride, activation=act, axis_name=self.axis_name, name="stem"
        )
        x = stem(images, schedule, train)
        if self.stem == "imagenet":
            x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        ends = {f"stage{s + 1}_block{count}" for s, count in enumerate(self.blocks)}
        for name, width, stride in self._layout():
            block = Block(
                width, stride, self.method, self.structure, self.projection, self.axis_name, name=name
            )
            x = block(x, schedule, train)
            if name in ends:
                record_stage(self, x)
        return Head(self.classes, axis_name=self.axis_name, name=CLASSIFIER)(jnp.mean(x, axis=(1, 2)), train)
