"""Programs compiled ahead are those that training calls: none is compiled again, with the same result."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.config.training import Config
from bnnjax.data import Augmentation, Split
from bnnjax.data.dataset import assemble
from bnnjax.runs.input import make_feed
from bnnjax.train.ahead import compile_ahead
from bnnjax.train.checkpoint import Checkpoints
from bnnjax.train.loop import Fit, StopRequest, fit
from bnnjax.train.parallel import compile_task, make_mesh, replicate
from bnnjax.train.state import RunState
from bnnjax.train.step import Task
from bnnjax.types import Tree

BATCH = 8
PROGRAMS = ("train_step", "order", "predict_share", "mean_of", "all_finite")


class Display:
    """Shows nothing."""

    def update(self, **figures: Any) -> None:
        pass


@pytest.fixture
def programs() -> Iterator[list[str]]:
    """The names of the programs that are compiled, in all threads, or read from JAX's cache."""
    names: list[str] = []

    def listen(event: str, seconds: float, **about: Any) -> None:
        if event.endswith("backend_compile_duration"):
            names.append(about["fun_name"].removeprefix("jit(").removesuffix(")"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


@jax.jit
def mean_of(params: Tree, batch_stats: Tree) -> jax.Array:
    return jnp.mean(params["kernel"])


@pytest.fixture
def trained(
    make_task: Callable[..., Task],
    make_state: Callable[[Task], RunState],
    split: Split,
    tmp_path: Path,
    programs: list[str],
) -> Callable[[bool], RunState]:
    """trained(ahead): the state after two epochs."""

    def made(ahead: bool) -> RunState:
        dataset = assemble(
            name="made up", class_names=tuple("01234"), train=split, test=split, validation_examples=5,
            train_examples=None, augmentation=Augmentation(flip=True), source="nowhere",
        )  # fmt: skip
        task = make_task(epochs=2, steps_per_epoch=3, augmentation=dataset.augmentation)
        mesh = make_mesh(BATCH, jax.devices()[:1])
        compiled = compile_task(task, mesh, BATCH, len(dataset.train.labels))
        config = Config(dataset="digits", batch_size=BATCH)
        feed, lower = make_feed(
            config, dataset, task, compiled, mesh, {}, jax.random.key(3), lambda skipped: None
        )
        checkpoints = Checkpoints(tmp_path / f"ahead {ahead}", print)
        run = Fit(
            task=task, compiled=compiled, feed=feed, validation=dataset.validation, batch_size=BATCH,
            checkpoints=checkpoints, checkpoint_every=9,
            measure=lambda *arrays: {"mean": float(mean_of(*arrays))}, learning_rate=lambda step: 0.1,
            on_epoch=lambda record: None, display=Display(), stop=StopRequest(),
        )  # fmt: skip
        state = replicate(mesh, make_state(task))
        if ahead:
            compile_ahead(run, lower, state.train)
            assert {*PROGRAMS} <= {*programs}
        state = fit(run, state)
        checkpoints.close()
        return state

    return made


def test_what_is_compiled_ahead_is_not_compiled_again(
    trained: Callable[[bool], RunState], programs: list[str]
) -> None:
    states = []
    for ahead in (False, True):
        jax.clear_caches()
        programs.clear()
        states.append(trained(ahead))
        for name in PROGRAMS:
            assert programs.count(name) == 1, (name, programs)
    for plain, early in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_array_equal(plain, early)
