"""One training step, as seen by a single device.

It runs under a mapped axis; `train.parallel` maps it over all devices.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from bnnjax.data.augment import Augmentation, augment, normalize
from bnnjax.data.batches import device_slice, epoch_keys, step_key
from bnnjax.train.learner import Learner, Means, Moment, Pass
from bnnjax.train.state import Totals, TrainState, no_totals
from bnnjax.types import AXIS, Tree

METHOD = 2**32 - 1  # folded into the method's key; the keys of images use their places in the batch


class Images(NamedTuple):
    """Data that steps read: a split, and teachers if there are any; the same on each device."""

    images: Array  # uint8 [n, h, w, c]
    labels: Array  # int32 [n]
    teacher: Tree = ()  # arrays of other networks, for `Learner.loss`


class Normalization(NamedTuple):
    """Normalization of images to a network's input: (images / 255 - mean) / std in the compute dtype."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: Any

    def __call__(self, images: Array) -> Array:
        """Normalizes uint8 [batch, h, w, c]."""
        return normalize(images, self.mean, self.std, self.dtype)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A learner and how it is trained; independent of methods and models."""

    learner: Learner
    optimizer: optax.GradientTransformation
    augmentation: Augmentation
    normalization: Normalization
    epochs: int
    steps_per_epoch: int
    accumulate: int = 1  # parts of a batch whose gradients are averaged


def mean_over_parts(function: Callable[[Array], tuple[Tree, Tree]], parts: int) -> tuple[Tree, Tree]:
    """Returns the mean of a function's first results over parts 0, 1, ..., and its last second result."""
    if parts == 1:
        return function(jnp.int32(0))

    def add(sums: tuple[Tree, Tree], part: Array) -> tuple[tuple[Tree, Tree], None]:
        values, rest = function(part)
        return (jax.tree.map(jnp.add, sums[0], values), rest), None

    nothing = jax.tree.map(jnp.zeros_like, jax.eval_shape(function, jnp.int32(0)))
    (sums, rest), _ = jax.lax.scan(add, nothing, jnp.arange(parts))
    return jax.tree.map(lambda total: total / parts, sums), rest


def train_step(task: Task, state: TrainState, data: Images, batches: Array, key: Array) -> TrainState:
    """Returns the state after one step on this device's share of a batch of a split.

    Args:
      task: static.
      state: the same on all devices.
      data: the training images, and the teacher if there is one.
      batches: int32 [steps_per_epoch, batch], indices into data for this epoch.
      key: the run's data key.
    """
    batch = batches[state.step % task.steps_per_epoch]
    own = device_slice(batch, jax.lax.axis_index(AXIS), jax.lax.axis_size(AXIS))
    return share_step(task, state, data.images[own], data.labels[own], data.teacher, key)


def share_step(
    task: Task, state: TrainState, images: Array, labels: Array, teacher: Tree, key: Array
) -> TrainState:
    """Returns the state after one step.

    Args:
      task: static.
      state: the same on all devices.
      images: uint8 [batch, h, w, c], this device's share of the global batch, part by part.
      labels: int32 [batch], likewise.
      teacher: see Images.
      key: the run's data key.
    """
    epoch, position = state.step // task.steps_per_epoch, state.step % task.steps_per_epoch
    augment_key = step_key(epoch_keys(key, epoch), position)
    # Schedules change once per epoch.
    progress = epoch.astype(jnp.float32) / task.epochs
    method_key = jax.random.fold_in(augment_key, METHOD)
    moment = Moment(progress, position == 0, method_key)
    share = labels.shape[0] // task.accumulate

    def loss_of(params: Tree, images: Array, labels: Array) -> tuple[Array, tuple[Means, Pass]]:
        means, after = task.learner.loss(
            params, state.batch_stats, images, labels, moment, state.carried, teacher
        )
        return means.loss, (means, after)

    def part_of_step(part: Array) -> tuple[tuple[Tree, Means, Tree], Tree]:
        ours, theirs = (jax.lax.dynamic_slice_in_dim(a, part * share, share) for a in (images, labels))
        first = (part * jax.lax.axis_size(AXIS) + jax.lax.axis_index(AXIS)) * share  # see `device_order`
        ours = augment(augment_key, ours, task.augmentation, first=first)
        ours = task.normalization(ours)
        gradients, (means, after) = jax.grad(loss_of, has_aux=True)(state.params, ours, theirs)
        return (gradients, means, after.batch_stats), after.carried

    # Mapped without varying-axis types: each device has the gradient of its own loss here, and their mean is
    # the gradient of the global loss.
    (gradients, means, batch_stats), carried = mean_over_parts(part_of_step, task.accumulate)
    gradients, means = jax.lax.pmean((gradients, means), AXIS)
    updates, opt_state = task.optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    params, batch_stats = task.learner.after_update(params, batch_stats, gradients, carried)

    # The sums restart with each epoch; at its end they stay, for the loop to read.
    totals = jax.tree.map(lambda new, old: jnp.where(position == 0, new, old), no_totals(), state.totals)
    is_first_bad = ~jnp.isfinite(means.loss) & (totals.bad_step < 0)
    totals = Totals(
        steps=totals.steps + 1,
        loss=totals.loss + means.loss,
        task_loss=totals.task_loss + means.task_loss,
        penalty=totals.penalty + means.penalty,
        correct=totals.correct + means.correct,
        bad_step=jnp.where(is_first_bad, state.step + 1, totals.bad_step),
    )
    return TrainState(state.step + 1, params, batch_stats, opt_state, totals, carried)
