"""What training goes through: the steps that are left, each a function of the state."""

from collections.abc import Callable, Generator
from contextlib import closing

import jax
from jax import Array
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from bnnjax.data.streaming.stream import Batch
from bnnjax.train.parallel import Compiled
from bnnjax.train.state import TrainState
from bnnjax.train.step import Images
from bnnjax.types import AXIS, Tree

Step = Callable[[TrainState], TrainState]  # consumes the state that it is given
# how many steps of the run are done -> those that follow, without end; closed when no more are taken
Feed = Callable[[int], Generator[Step]]


def resident(compiled: Compiled, data: Images, key: Array, steps_per_epoch: int) -> Feed:
    """Returns the steps over images that live on the device.

    Args:
      compiled: the task.
      data: the training images, and the teacher if there is one, on every device.
      key: the run's data key, on every device.
      steps_per_epoch: batches in an epoch.
    """

    def feed(done: int) -> Generator[Step]:
        while True:
            epoch, position = divmod(done, steps_per_epoch)
            batches = compiled.order(key, epoch)

            def step(state: TrainState, batches: Array = batches) -> TrainState:
                return compiled.train(state, data, batches, key)

            for _ in range(position, steps_per_epoch):
                yield step
            done += steps_per_epoch - position

    return feed


def streamed(
    compiled: Compiled,
    mesh: Mesh,
    batches: Callable[[int], Generator[Batch]],
    teacher: Tree,
    key: Array,
    on_skipped: Callable[[int], None],
) -> Feed:
    """Returns the steps over batches that come from the host; the next is on its way while one is used.

    Args:
      compiled: the task.
      mesh: whose devices share each batch.
      batches: how many steps of the run are done -> those of the rest, this process's rows of each.
      teacher: see `Images`; on every device.
      key: the run's data key, on every device.
      on_skipped: is told how many damaged images a batch has others in place of, when its step is taken.
    """
    shared = NamedSharding(mesh, P(AXIS))

    def feed(done: int) -> Generator[Step]:
        with closing(batches(done)) as coming:
            for batch in coming:
                # Returns at once: the copy goes on while steps before this one are computed.
                images, labels = (jax.make_array_from_process_local_data(shared, rows) for rows in batch[:2])
                on_skipped(batch.skipped)

                def step(state: TrainState, images: Array = images, labels: Array = labels) -> TrainState:
                    return compiled.train_on(state, images, labels, teacher, key)

                yield step

    return feed
