"""What training goes through: the steps that are left, each a function of the state."""

from collections.abc import Callable, Generator

from jax import Array

from bnnjax.train.parallel import Compiled
from bnnjax.train.state import TrainState
from bnnjax.train.step import Images

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
