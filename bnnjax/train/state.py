"""The state of training, all of which is in every checkpoint."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from bnnjax.types import Tree


class Totals(NamedTuple):
    """Sums over the steps of the current epoch; all []."""

    steps: Array  # int32
    loss: Array  # float32; task loss + penalty
    task_loss: Array  # float32
    penalty: Array  # float32
    correct: Array  # float32; share of correct predictions in the batch
    bad_step: Array  # int32; the first step of the run whose loss was not finite, else -1


class TrainState(NamedTuple):
    """State of the optimization."""

    step: Array  # int32 []; steps done
    params: Tree  # float32
    batch_stats: Tree  # float32
    opt_state: optax.OptState
    totals: Totals
    carried: Tree  # the penalty's state


class Best(NamedTuple):
    """The network of the epoch with the highest validation accuracy so far; at a tie the first."""

    epoch: Array  # int32 []; 0 before the first
    accuracy: Array  # float32 [], percent
    params: Tree
    batch_stats: Tree


class RunState(NamedTuple):
    """What a checkpoint holds."""

    train: TrainState
    best: Best


def no_totals() -> Totals:
    """Returns the totals that an epoch begins with."""
    # Separate arrays: a buffer that occurs twice cannot be donated.
    loss, task_loss, penalty, correct = (jnp.zeros((), jnp.float32) for _ in range(4))
    return Totals(jnp.int32(0), loss, task_loss, penalty, correct, jnp.int32(-1))


def initial_state(
    params: Tree, batch_stats: Tree, optimizer: optax.GradientTransformation, carried: Tree = ()
) -> RunState:
    """Returns the state before the first step."""
    train = TrainState(jnp.int32(0), params, batch_stats, optimizer.init(params), no_totals(), carried)
    nothing = jax.tree.map(jnp.zeros_like, (params, batch_stats))
    return RunState(train, Best(jnp.int32(0), jnp.float32(-1), *nothing))


@jax.jit
def all_finite(tree: Tree) -> Array:
    """Returns whether every number of every array is finite, bool []."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def keep_best(best: Best, train: TrainState, epoch: int, accuracy: float) -> Best:
    """Returns the better of the best network so far and the network after `epoch`."""
    if np.float32(accuracy) <= np.float32(best.accuracy):  # in the precision of the stored best
        return best
    # Copies, because the next step donates the buffers of `train`.
    params, batch_stats = jax.tree.map(jnp.copy, (train.params, train.batch_stats))
    now = (
        jnp.full_like(best.epoch, epoch),
        jnp.full_like(best.accuracy, accuracy),
    )  # on all devices, as they were
    return Best(*now, params, batch_stats)
