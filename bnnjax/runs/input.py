"""What a run's steps are fed with: a split that lives on the device, or a stream of batches."""

from collections.abc import Callable, Generator

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from bnnjax.config.resolved import ResolvedConfig
from bnnjax.data import Dataset, StreamedDataset, device_share
from bnnjax.data.batches import device_order
from bnnjax.data.imagenet.load import found_damaged
from bnnjax.data.streaming.stream import Batch, Rows, batches
from bnnjax.runtime.processes import gather
from bnnjax.train.feed import Feed, Resident, Streamed
from bnnjax.train.parallel import Compiled, replicate
from bnnjax.train.state import TrainState
from bnnjax.train.step import Images, Task
from bnnjax.types import AXIS, Tree

# state -> the programs that a feed calls, the step first; it is not consumed
Lower = Callable[[TrainState], tuple[jax.stages.Lowered, ...]]
SKIPPED = "skipped_images"  # damaged ones, in an epoch's record and in the summary


def make_feed(
    config: ResolvedConfig,
    dataset: Dataset,
    task: Task,
    compiled: Compiled,
    mesh: Mesh,
    teacher: Tree,
    key: Array,
    on_skipped: Callable[[int], None],
) -> tuple[Feed, Lower]:
    """Returns the steps of a run over a data set's training images, and its programs, to be compiled ahead.

    Args:
      config: of the run.
      dataset: in memory or streamed.
      task: made from both.
      compiled: the task.
      mesh: of all devices of all processes.
      teacher: see `Images`.
      key: the run's data key.
      on_skipped: see `Streamed`.
    """
    teacher, key = replicate(mesh, (teacher, key))
    if not isinstance(dataset, StreamedDataset):
        images, labels = replicate(
            mesh, (jnp.asarray(dataset.train.images), jnp.asarray(dataset.train.labels))
        )
        data = Images(images, labels, teacher)
        order = jax.ShapeDtypeStruct(
            (task.steps_per_epoch, config.batch_size), jnp.int32, sharding=NamedSharding(mesh, P())
        )

        def lower(state: TrainState) -> tuple[jax.stages.Lowered, ...]:
            return compiled.train.lower(state, data, order, key), compiled.order.lower(key, 0)

        return Resident(compiled, data, key, task.steps_per_epoch), lower
    share = device_share(config.batch_size, jax.process_count())
    in_order = device_order(jnp.arange(config.batch_size)[None], config.accumulate, mesh.size)
    rows = Rows(
        stream=dataset.stream,
        seed=config.seed,
        batch_size=config.batch_size,
        own=np.asarray(in_order)[0, jax.process_index() * share :][:share],
        begin=0,
        steps=task.epochs * task.steps_per_epoch,
    )

    def after(done: int) -> Generator[Batch]:
        return batches(rows.after(done))

    def lower_on(state: TrainState) -> tuple[jax.stages.Lowered, ...]:
        shape = (config.batch_size, *dataset.train.images.shape[1:])
        split = NamedSharding(mesh, P(AXIS))
        images = jax.ShapeDtypeStruct(shape, jnp.uint8, sharding=split)
        labels = jax.ShapeDtypeStruct(shape[:1], jnp.int32, sharding=split)
        return (compiled.train_on.lower(state, images, labels, teacher, key),)

    return Streamed(compiled, mesh, after, teacher, key, on_skipped), lower_on


def skipped_by_all(skipped: int) -> int:
    """Returns how many images all processes have skipped, each of which tells its number."""
    return int(gather([skipped]).sum())


def grey_images(dataset: Dataset) -> dict[str, int]:
    """Returns how many damaged images were tested grey, where a data set may have any; all processes call it.

    Args:
      dataset: after its test, of which each process has decoded a share.
    """
    if not isinstance(dataset, StreamedDataset):
        return {}
    return {"grey_images": int(gather(found_damaged(dataset).tolist()).any(axis=0).sum())}
