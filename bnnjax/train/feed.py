"""The feed of a training loop: the remaining steps, each a function of the state."""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

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
# number of steps done -> the steps that follow, without end; close the iterator when no more are needed
Feed = Callable[[int], Generator[Step]]


@dataclass(frozen=True, eq=False)
class Resident:
    """Steps over images that are held in device memory.

    Attributes:
      compiled: the task.
      data: the training images, and the teacher if there is one, on every device.
      key: the run's data key, on every device.
      steps_per_epoch: batches in an epoch.
    """

    compiled: Compiled
    data: Images
    key: Array
    steps_per_epoch: int

    def __call__(self, done: int) -> Generator[Step]:
        while True:
            epoch, position = divmod(done, self.steps_per_epoch)
            step = partial(self._step, self.compiled.order(self.key, epoch))
            for _ in range(position, self.steps_per_epoch):
                yield step
            done += self.steps_per_epoch - position

    def _step(self, batches: Array, state: TrainState) -> TrainState:
        return self.compiled.train(state, self.data, batches, self.key)


@dataclass(frozen=True, eq=False)
class Streamed:
    """Steps over batches that come from the host; the next batch is copied while one is used.

    Attributes:
      compiled: the task.
      mesh: whose devices share each batch.
      batches: number of steps done -> the batches that follow, this process's rows of each.
      teacher: see `Images`; on every device.
      key: the run's data key, on every device.
      on_skipped: called with the number of replaced damaged images in a batch, when its step is taken.
    """

    compiled: Compiled
    mesh: Mesh
    batches: Callable[[int], Generator[Batch]]
    teacher: Tree
    key: Array
    on_skipped: Callable[[int], None]

    def __call__(self, done: int) -> Generator[Step]:
        shared = NamedSharding(self.mesh, P(AXIS))
        with closing(self.batches(done)) as coming:
            for batch in coming:
                # Returns at once: the copy proceeds while earlier steps are computed.
                images, labels = (jax.make_array_from_process_local_data(shared, rows) for rows in batch[:2])
                self.on_skipped(batch.skipped)
                yield partial(self._step, images, labels)

    def _step(self, images: Array, labels: Array, state: TrainState) -> TrainState:
        return self.compiled.train_on(state, images, labels, self.teacher, self.key)
