"""A task that knows no network: a linear classifier of mean colours, on made-up images."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.data import Augmentation, Split
from bnnjax.train.optimizer import learning_rate_schedule, make_optimizer
from bnnjax.train.state import RunState, initial_state
from bnnjax.train.step import Task

STEPS, BATCH, EXAMPLES = 4, 8, 35  # the last 3 images of an epoch's order are left out


def init(key: jax.Array) -> tuple[Any, Any]:
    params = {"kernel": jax.random.normal(key, (3, 5)), "bias": jnp.linspace(-1.0, 1.0, 5)}
    return params, {"count": jnp.zeros(())}


def forward(
    params: Any, batch_stats: Any, images: jax.Array, schedule: Any, train: bool
) -> tuple[jax.Array, Any, Any]:
    logits = jnp.mean(images, axis=(1, 2)) @ params["kernel"] + params["bias"]
    count = batch_stats["count"] + 1 if train else batch_stats["count"]
    return logits, {"count": count}, (params, batch_stats, schedule)


@pytest.fixture
def split() -> Split:
    rng = np.random.default_rng(0)
    return Split(
        rng.integers(0, 256, (EXAMPLES, 4, 4, 3), dtype=np.uint8), np.arange(EXAMPLES, dtype=np.int32) % 5
    )


@pytest.fixture
def make_task() -> Callable[..., Task]:
    """make_task(field=value, ...): the task with these fields in place of the plain ones."""

    def made(**fields: Any) -> Task:
        optimizer = make_optimizer("sgd", learning_rate_schedule(0.1, 1000, 0), 0.01, 0.9)
        plain: dict[str, Any] = {
            "init": init,
            "forward": forward,
            "schedule": lambda moment: jnp.float32(1) if moment is None else moment.progress,
            "penalty": lambda units, carried: (jnp.zeros(()), carried),
            "after_update": lambda params, batch_stats, gradients, carried: (params, batch_stats),
            "optimizer": optimizer,
            "augmentation": Augmentation(),
            "mean": (0.5, 0.5, 0.5),
            "std": (0.25, 0.25, 0.25),
            "dtype": jnp.float32,
            "label_smoothing": 0.0,
            "epochs": 3,
            "steps_per_epoch": STEPS,
        }
        return Task(**(plain | fields))

    return made


@pytest.fixture
def make_state() -> Callable[[Task], RunState]:
    """make_state(task): the state before its first step."""

    def made(task: Task) -> RunState:
        return initial_state(*task.init(jax.random.key(1)), task.optimizer, task.carried())

    return made
