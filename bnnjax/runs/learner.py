"""What a run trains: a constrained network that learns to classify."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax import Array

from bnnjax.constraints.objective import ConstrainedNetwork
from bnnjax.models.network import Network, project_latents
from bnnjax.nn.layers import remember_gradients
from bnnjax.train.learner import Means, Moment, Pass
from bnnjax.types import Tree

TARGETS = "targets"  # the network whose probabilities are learned, among a step's teachers; and see LCR


@dataclass(frozen=True, eq=False, kw_only=True)  # as Network
class Classifier:
    """A constrained network that learns labels, or another network's probabilities; see `train.Learner`.

    Attributes:
      constrained: the network under its constraint.
      label_smoothing: the share of a label's probability that is spread over all classes.
      teacher: the network whose probabilities are learned in place of labels; each step brings its arrays.
      latent_clip: latent weights are clipped to +- this after every update; 0 leaves them.
    """

    constrained: ConstrainedNetwork
    label_smoothing: float = 0.0
    teacher: Network | None = None
    latent_clip: float = 0.0

    def init(self, key: Array) -> tuple[Tree, Tree]:
        """Returns params and batch_stats with random weights."""
        return self.constrained.init(key)

    def carried(self) -> Tree:
        """Returns what the constraint carries before the first step."""
        return self.constrained.carried()

    def logits(self, params: Tree, batch_stats: Tree, images: Array) -> Array:
        """Returns the logits at inference, [batch, classes] float32."""
        return self.constrained.network.logits(params, batch_stats, images)

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
        """Returns the cross-entropy of these images with the penalty added, and what the pass leaves."""
        logits, after = self.constrained.forward(params, batch_stats, images, moment, carried, teacher)
        targets = self.targets(images, jax.nn.one_hot(labels, logits.shape[-1]), teacher)
        task_loss = jnp.mean(optax.softmax_cross_entropy(logits, targets))
        correct = jnp.mean((jnp.argmax(logits, -1) == labels).astype(jnp.float32))
        return Means(task_loss + after.penalty, task_loss, after.penalty, correct), after

    def targets(self, images: Array, one_hot: Array, teacher: Tree) -> Array:
        """Returns what is learned of these images: the teacher's probabilities, else the smoothed labels.

        Args:
          images: normalized, [batch, h, w, c].
          one_hot: their labels, [batch, classes].
          teacher: the teacher's params and batch_stats under TARGETS, if there is a teacher.
        """
        if self.teacher is None:
            return optax.smooth_labels(one_hot, self.label_smoothing)
        params, batch_stats = teacher[TARGETS]
        return jax.lax.stop_gradient(jax.nn.softmax(self.teacher.logits(params, batch_stats, images)))

    def after_update(
        self, params: Tree, batch_stats: Tree, gradients: Tree, carried: Tree
    ) -> tuple[Tree, Tree]:
        """Returns params as constraint and method project them, and batch_stats with remembered gradients."""
        method = self.constrained.network.method
        if method.remember_gradient is not None:
            batch_stats = remember_gradients(batch_stats, gradients, method.remember_gradient)
        for project in self._latent_projections():
            params = project_latents(params, project)
        return self.constrained.project_gains(params, batch_stats, carried), batch_stats

    def _latent_projections(self) -> list[Callable[[Array], Array]]:
        clip = partial(jnp.clip, min=-self.latent_clip, max=self.latent_clip) if self.latent_clip else None
        constraint, method = self.constrained.constraint, self.constrained.network.method
        # What binarization asks of a latent kernel comes last: it holds whatever the constraint.
        projections = (constraint.project_latent, method.project_latent, clip)
        return [project for project in projections if project is not None]
