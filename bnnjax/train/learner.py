"""The interface between training and what is trained: a learner's functions and the records they exchange."""

from typing import NamedTuple, Protocol

from jax import Array

from bnnjax.types import Tree


class Moment(NamedTuple):
    """Per-step inputs of the forward pass."""

    progress: Array  # epoch / epochs, [] float32
    epoch_begins: Array  # bool []; whether this is the first step of an epoch
    key: Array  # of this step, the same on all devices


class Pass(NamedTuple):
    """What a forward pass returns beside its logits."""

    batch_stats: Tree  # after it
    penalty: Array  # [] float32, of which the step takes the mean over devices
    carried: Tree  # what the penalty carries to the next step, the same on all devices


class Means(NamedTuple):
    """Means over a step's images; all float32 []."""

    loss: Array  # task loss + penalty
    task_loss: Array
    penalty: Array
    correct: Array  # share of correct predictions


class Learner(Protocol):
    """What a training step calls.  Images are normalized, [batch, h, w, c], one device's share."""

    def init(self, key: Array) -> tuple[Tree, Tree]:
        """Returns params and batch_stats with random weights."""

    def carried(self) -> Tree:
        """Returns the penalty's state before the first step."""

    def loss(
        self,
        params: Tree,
        batch_stats: Tree,
        images: Array,
        labels: Array,
        moment: Moment,
        carried: Tree,
        teacher: Tree,
    ) -> tuple[Means, Pass]:
        """Returns the means of these images, the loss first, and the rest of the pass.

        Args:
          params: float32.
          batch_stats: float32.
          images: normalized.
          labels: int32 [batch].
          moment: the step.
          carried: the penalty's state.
          teacher: see `train.step.Images`.
        """

    def after_update(
        self, params: Tree, batch_stats: Tree, gradients: Tree, carried: Tree
    ) -> tuple[Tree, Tree]:
        """Returns params and batch_stats as projected after the optimizer's update."""

    def logits(self, params: Tree, batch_stats: Tree, images: Array) -> Array:
        """Returns the logits at inference, [batch, classes] float32."""
