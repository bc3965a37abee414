"""Data parallelism: maps a step over all devices of all processes.

The mapped axis is called `data`.  Since JAX 0.8 `jax.pmap` itself is implemented with `jax.shard_map`.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from bnnjax.data.batches import (
    device_order,
    device_share,
    epoch_keys,
    evaluation_batches,
    training_batches,
)
from bnnjax.train.state import RunState, initial_state
from bnnjax.train.step import Normalization, Task, share_step, train_step
from bnnjax.types import AXIS, Tree


def make_mesh(batch_size: int, devices: Sequence[jax.Device] | None = None, parts: int = 1) -> Mesh:
    """Returns the mesh of these devices, by default of all devices of all processes.

    Raises:
      ValueError: if the batch, or each of its `parts`, cannot be split evenly over them.
    """
    devices = jax.devices() if devices is None else devices
    device_share(batch_size, len(devices), parts)
    return Mesh(np.array(devices), (AXIS,))


def describe(mesh: Mesh) -> dict[str, Any]:
    """Returns the numbers of processes and of a mesh's devices, and their kind, for the records of a run."""
    return {
        "processes": jax.process_count(),
        "devices": mesh.size,
        "device_kind": mesh.devices.flat[0].device_kind,
        "cpu_cores": os.cpu_count(),
    }


def put(array: np.ndarray | Array, sharding: NamedSharding) -> Array:
    """Returns an array, equal in all processes, sharded over devices; each process fills its own shards."""
    if sharding.is_fully_addressable:
        return jax.device_put(array, sharding)
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        data = put(jax.random.key_data(array), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(array))
    host = np.asarray(array)
    return jax.make_array_from_callback(host.shape, sharding, lambda place: host[place])


def put_rows(images: np.ndarray | Array, rows: np.ndarray, sharding: NamedSharding) -> Array:
    """Returns rows of images sharded over devices; each process reads only the rows of its own devices."""
    if sharding.is_fully_addressable:
        return jax.device_put(images[rows], sharding)
    shape = (len(rows), *images.shape[1:])

    def part(place: Any) -> np.ndarray:
        return np.asarray(images[rows[place[0]]])

    return jax.make_array_from_callback(shape, sharding, part)


def replicate(mesh: Mesh, tree: Any) -> Any:
    """Returns the tree with each array, equal in all processes, replicated on every device."""
    return jax.tree.map(partial(put, sharding=NamedSharding(mesh, P())), tree)


def step_options() -> dict[str, str]:
    """Returns the options that steps are compiled with.

    With jax 0.10 on CPUs, YNN's convolutions are slower than Eigen's and its reductions faster than XLA's;
    jax 0.12 chooses this by default.  The option is experimental; it exists in the versions named here.
    """
    if jax.default_backend() == "cpu" and (0, 10) <= jax.__version_info__ < (0, 12):
        return {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}
    return {}


def once_options() -> dict[str, int]:
    """Returns options for programs that run once: on CPUs LLVM takes 5 to 15 s to optimize random numbers."""
    return {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else {}


@dataclass(frozen=True, eq=False)
class Predictor:
    """(params, batch_stats, images uint8 [n, h, w, c]) -> logits float32 [n, classes], for any n.

    Attributes:
      logits: (params, batch_stats, normalized images) -> logits of one device's share.
      normalization: of the images; its dtype is not used, as in bfloat16 the batch moves predictions: XLA
        rounds where it likes.
      mesh: whose devices share a batch.
      batch_size: of all devices together.
    """

    logits: Callable[[Tree, Tree, Array], Array]
    normalization: Normalization
    mesh: Mesh
    batch_size: int

    def predict_share(self, params: Tree, batch_stats: Tree, images: Array) -> Array:
        normalized = self.normalization._replace(dtype=jnp.float32)(images)
        logits = self.logits(params, batch_stats, normalized)
        return jax.lax.all_gather(logits, AXIS, tiled=True)  # every process needs all logits

    @cached_property
    def _compiled(self) -> jax.stages.Wrapped:
        split = (P(), P(), P(AXIS))
        mapped = jax.shard_map(
            self.predict_share, mesh=self.mesh, in_specs=split, out_specs=P(), check_vma=False
        )
        return jax.jit(mapped, compiler_options=step_options())

    def __call__(self, params: Tree, batch_stats: Tree, images: np.ndarray | Array) -> np.ndarray:
        indices = evaluation_batches(len(images), self.batch_size)
        shared = NamedSharding(self.mesh, P(AXIS))
        parts = [self._compiled(params, batch_stats, put_rows(images, batch, shared)) for batch in indices]
        return np.concatenate([np.asarray(part) for part in parts])[: len(images)]


class Compiled(NamedTuple):
    """A task's functions, compiled and mapped over a mesh."""

    # key -> the state before the first step
    init: Callable[[Array], RunState]
    # (key, epoch) -> the epoch's batches, int32 [steps, batch]
    order: jax.stages.Wrapped
    # (state, training images, batches, key) -> state after a step; its argument is consumed
    train: jax.stages.Wrapped
    # (state, images and labels of the batch, split over the devices, teacher, key) -> likewise
    train_on: jax.stages.Wrapped
    predict: Predictor


def compile_task(task: Task, mesh: Mesh, batch_size: int, examples: int) -> Compiled:
    """Returns the functions of a task for global batches of batch_size out of `examples` training images."""
    # Gradients are averaged by hand in the step.  With varying-axis types on (check_vma), the gradient of a
    # replicated parameter is already a sum over devices, and averaging it silently gives N times too much;
    # surrogate gradients with two arguments do not pass its type check either.
    mapped = partial(jax.shard_map, mesh=mesh, check_vma=False)
    everywhere = NamedSharding(mesh, P())
    train = mapped(partial(train_step, task), in_specs=(P(), P(), P(), P()), out_specs=P())
    split = (P(), P(AXIS), P(AXIS), P(), P())
    train_on = mapped(partial(share_step, task), in_specs=split, out_specs=P())
    learner = task.learner

    def init(key: Array) -> RunState:
        return initial_state(*learner.init(key), task.optimizer, learner.carried())

    def order(key: Array, epoch: int) -> Array:
        batches = training_batches(epoch_keys(key, epoch), examples, batch_size)
        return device_order(batches, task.accumulate, mesh.size)

    return Compiled(
        init=jax.jit(init, out_shardings=everywhere, compiler_options=once_options()),
        order=jax.jit(order, out_shardings=everywhere),
        train=jax.jit(train, donate_argnums=0, compiler_options=step_options()),
        train_on=jax.jit(train_on, donate_argnums=0, compiler_options=step_options()),
        predict=Predictor(learner.logits, task.normalization, mesh, batch_size),
    )
