"""A few steps of training on random images, for tests that look at the states."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bnnjax.config.training import Config
from bnnjax.data import Augmentation, Dataset, Split
from bnnjax.data.dataset import assemble
from bnnjax.models.network import Network
from bnnjax.runs.resolve import resolve
from bnnjax.runs.setup import make_setup
from bnnjax.train.parallel import compile_task, make_mesh
from bnnjax.train.state import TrainState
from bnnjax.train.step import Images

BATCH, EXAMPLES = 8, 32
SHAPE = (8, 8, 3)
Train = Callable[..., tuple[Network, list[TrainState]]]


def noise(examples: int = EXAMPLES, augmentation: Augmentation = Augmentation()) -> Dataset:  # noqa: B008
    """Returns random images, `examples` of them for training."""
    rng = np.random.default_rng(0)
    count = examples + 10
    everything = Split(
        rng.integers(0, 256, (count, *SHAPE), dtype=np.uint8), np.arange(count, dtype=np.int32) % 10
    )
    return assemble(
        name="noise",
        class_names=tuple("0123456789"),
        train=everything,
        test=everything,
        validation_examples=10,
        train_examples=None,
        augmentation=augmentation,
        source="made up",
    )


def trained(dataset: Dataset, steps: int, **fields: Any) -> tuple[Network, list[TrainState]]:
    """Returns the network and its states, the first before any step."""
    config = resolve(Config(**{"model": "resnet_tiny", "epochs": 2, "batch_size": BATCH, **fields}))
    setup = make_setup(config, dataset)
    compiled = compile_task(setup.task, make_mesh(BATCH, jax.devices()[:1]), BATCH, EXAMPLES)
    state, key = compiled.init(jax.random.key(0)).train, jax.random.key(1)
    data = Images(jnp.asarray(dataset.train.images), jnp.asarray(dataset.train.labels))
    states = [jax.tree.map(np.asarray, state)]
    for step in range(steps):
        state = compiled.train(state, data, compiled.order(key, step // 4), key)
        states.append(jax.tree.map(np.asarray, state))
    return setup.network, states
