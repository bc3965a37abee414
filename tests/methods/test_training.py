"""Every method trains a small network on real digits, and its whole state survives a checkpoint."""

from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bnnjax.config.training import Config
from bnnjax.data import load_digits
from bnnjax.methods import METHODS
from bnnjax.runs.resolve import resolve
from bnnjax.runs.setup import make_setup
from bnnjax.train.checkpoint import Checkpoints
from bnnjax.train.parallel import compile_task, make_mesh
from bnnjax.train.step import Images

EXAMPLES, STEPS = 64, 16  # 4 epochs, as many as the longest row of stages needs


# Left out by default: those that train by the same means as another, and the slowest to compile.
ALIKE = {"abcnet", "birealnet", "bnn", "bnnplus", "bwn", "dorefa", "dsq", "fda", "fp", "hwgq"} | {
    "lab", "lqnet", "rad", "rbnn", "reactnet", "recu", "reste", "sqtwn", "twn", "xnor", "xnorplusplus",
}  # fmt: skip


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow if name in ALIKE else ()) for name in METHODS],
)
def trained(request: pytest.FixtureRequest, digits_dir: Path) -> tuple[Any, list[Any]]:
    """The method's setup, and its state before and after each step."""
    dataset = load_digits(digits_dir, train_examples=EXAMPLES)
    config = Config(model="resnet_tiny", method=request.param, epochs=4, batch_size=16, learning_rate=0.05)
    setup = make_setup(resolve(config), dataset)
    compiled = compile_task(setup.task, make_mesh(16, jax.devices()[:1]), 16, EXAMPLES)
    key = jax.random.key(1)
    data = Images(jnp.asarray(dataset.train.images), jnp.asarray(dataset.train.labels))
    state = compiled.init(jax.random.key(0)).train
    states = [jax.tree.map(np.asarray, state)]
    for step in range(STEPS):
        state = compiled.train(state, data, compiled.order(key, step // 4), key)
        states.append(jax.tree.map(np.asarray, state))
    return setup, states


def memories(state: Any) -> list[np.ndarray]:
    return [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(state.batch_stats)
        if "memory" in [entry.key for entry in path]
    ]


def test_the_loss_falls_from_epoch_to_epoch(trained: tuple[Any, list[Any]]) -> None:
    _, states = trained
    chex.assert_tree_all_finite(states[-1])
    first, last = (float(states[step].totals.task_loss) for step in (4, STEPS))
    assert last < 0.97 * first


def test_all_parameters_get_gradients_and_all_memory_moves(trained: tuple[Any, list[Any]]) -> None:
    setup, states = trained
    # Not the parameters: a scale in front of a batch norm has a gradient far below its last digit.
    momentum = optax.tree.get(states[-1].opt_state, "trace")
    for path, leaf in jax.tree_util.tree_leaves_with_path(momentum):
        assert np.any(leaf != 0), jax.tree_util.keystr(path)
    assert bool(memories(states[0])) == bool(setup.network.method.memory)
    for before, after in zip(memories(states[0]), memories(states[-1]), strict=True):
        assert not np.array_equal(before, after)


def test_a_checkpoint_holds_what_the_method_keeps(trained: tuple[Any, list[Any]], tmp_path: Path) -> None:
    _, states = trained
    checkpoints = Checkpoints(tmp_path, print)
    try:
        checkpoints.save(STEPS, states[-1])
        step, restored = checkpoints.restore(states[0]) or pytest.fail("nothing was saved")
    finally:
        checkpoints.close()
    assert step == STEPS
    chex.assert_trees_all_equal(restored, states[-1])
