"""The source of its images does not change a step, and a feed resumes in the middle of an epoch."""

from collections.abc import Callable, Generator
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.data import Augmentation, Split
from bnnjax.data.streaming.stream import Batch
from bnnjax.train.feed import Feed, Resident, Streamed
from bnnjax.train.parallel import Compiled, compile_task, make_mesh
from bnnjax.train.state import RunState, TrainState
from bnnjax.train.step import Images, Task

STEPS, BATCH, EXAMPLES = 4, 8, 35
KEY = 3


@pytest.fixture
def task(make_task: Callable[..., Task]) -> Task:
    return make_task(augmentation=Augmentation(flip=True))


@pytest.fixture
def compiled(task: Task) -> Compiled:
    return compile_task(task, make_mesh(BATCH, jax.devices()[:1]), BATCH, EXAMPLES)


@pytest.fixture
def on_device(compiled: Compiled, split: Split) -> Feed:
    data = Images(jnp.asarray(split.images), jnp.asarray(split.labels))
    return Resident(compiled, data, jax.random.key(KEY), STEPS)


class Host:
    """Yields batches in the same order, and records how it ended."""

    def __init__(self, compiled: Compiled, split: Split) -> None:
        self.compiled, self.split = compiled, split
        self.skipped: list[int] = []
        self.closed = False

    def batches(self, done: int) -> Generator[Batch]:
        try:
            while True:
                epoch, position = divmod(done, STEPS)
                rows = np.asarray(self.compiled.order(jax.random.key(KEY), epoch))[position]
                yield Batch(self.split.images[rows], self.split.labels[rows], done)
                done += 1
        finally:
            self.closed = True

    def feed(self) -> Feed:
        mesh = make_mesh(BATCH, jax.devices()[:1])
        return Streamed(self.compiled, mesh, self.batches, (), jax.random.key(KEY), self.skipped.append)


def after(state: TrainState, feed: Feed, done: int, steps: int) -> TrainState:
    for step in islice(feed(done), steps):
        state = step(state)
    return state


def assert_same(left: Any, right: Any) -> None:
    for ours, theirs in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(ours, theirs)


MakeState = Callable[[Task], RunState]


def test_steps_over_the_host_are_those_over_the_device(
    on_device: Feed, compiled: Compiled, split: Split, task: Task, make_state: MakeState
) -> None:
    host = Host(compiled, split)
    ours = after(make_state(task).train, host.feed(), 0, 6)  # into the second epoch
    assert int(ours.step) == 6
    assert_same(ours, after(make_state(task).train, on_device, 0, 6))


@pytest.mark.parametrize("kind", ["device", "host"])
def test_a_feed_goes_on_after_any_step(
    on_device: Feed, compiled: Compiled, split: Split, task: Task, make_state: MakeState, kind: str
) -> None:
    feed = on_device if kind == "device" else Host(compiled, split).feed()
    whole = after(make_state(task).train, feed, 0, 9)
    parts = make_state(task).train
    for done, steps in ((0, 3), (3, 1), (4, 2), (6, 3)):
        parts = after(parts, feed, done, steps)
    assert_same(parts, whole)


def test_skipped_images_are_told_as_batches_are_taken_and_the_host_is_closed(
    compiled: Compiled, split: Split
) -> None:
    host = Host(compiled, split)
    steps = host.feed()(5)
    next(steps)
    assert host.skipped == [5]
    next(steps)
    assert host.skipped == [5, 6]
    steps.close()
    assert host.closed
