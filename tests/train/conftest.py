"""A task that knows no network: a linear classifier of mean colors, on made-up images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.data import Augmentation, Split
from bnnjax.runs.learner import Classifier
from bnnjax.train.learner import Pass
from bnnjax.train.optimizer import learning_rate_schedule, make_optimizer
from bnnjax.train.state import RunState, initial_state
from bnnjax.train.step import Normalization, Task

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


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear:
    """In place of a constrained network."""

    init: Callable[..., Any] = init
    forward_pass: Callable[..., Any] = forward
    schedule: Callable[..., Any] = lambda moment: moment.progress
    penalty: Callable[..., Any] = lambda units, carried: (jnp.zeros(()), carried)
    carried: Callable[[], Any] = lambda: ()

    def forward(
        self, params: Any, batch_stats: Any, images: Any, moment: Any, carried: Any, teacher: Any
    ) -> tuple[jax.Array, Pass]:
        schedule = self.schedule(moment)
        logits, batch_stats, units = self.forward_pass(params, batch_stats, images, schedule, True)
        return logits, Pass(batch_stats, *self.penalty(units, carried))

    @property
    def network(self) -> "Linear":
        return self

    def logits(self, params: Any, batch_stats: Any, images: Any) -> jax.Array:
        return self.forward_pass(params, batch_stats, images, jnp.float32(1), False)[0]


@dataclass(frozen=True, eq=False, kw_only=True)
class Learner(Classifier):
    """The classifier of runs, with a projection of its own."""

    project: Callable[..., Any]

    def after_update(self, params: Any, batch_stats: Any, gradients: Any, carried: Any) -> Any:
        return self.project(params, batch_stats, gradients, carried)


@pytest.fixture
def split() -> Split:
    rng = np.random.default_rng(0)
    return Split(
        rng.integers(0, 256, (EXAMPLES, 4, 4, 3), dtype=np.uint8), np.arange(EXAMPLES, dtype=np.int32) % 5
    )


@pytest.fixture
def make_task() -> Callable[..., Task]:
    """make_task(field=value, ...): the task with these fields in place of the plain ones."""

    def made(
        after_update: Callable[..., Any] = lambda params, batch_stats, gradients, carried: (
            params,
            batch_stats,
        ),
        label_smoothing: float = 0.0,
        teacher: Any = None,
        **fields: Any,
    ) -> Task:
        optimizer = make_optimizer("sgd", learning_rate_schedule(0.1, 1000, 0), 0.01, 0.9)
        names = {
            "forward": "forward_pass",
            "schedule": "schedule",
            "penalty": "penalty",
            "carried": "carried",
        }
        linear = Linear(**{names[name]: fields.pop(name) for name in list(fields) if name in names})
        learner = Learner(
            constrained=linear,  # type: ignore[arg-type]
            label_smoothing=label_smoothing,
            teacher=teacher,
            project=after_update,
        )
        plain: dict[str, Any] = {
            "learner": learner,
            "optimizer": optimizer,
            "augmentation": Augmentation(),
            "normalization": Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), jnp.float32),
            "epochs": 3,
            "steps_per_epoch": STEPS,
        }
        return Task(**(plain | fields))

    return made


@pytest.fixture
def make_state() -> Callable[[Task], RunState]:
    """make_state(task): the state before its first step."""

    def made(task: Task) -> RunState:
        learner = task.learner
        return initial_state(*learner.init(jax.random.key(1)), task.optimizer, learner.carried())

    return made
