"""Training under Lipschitz continuity retention: the step, the teacher and the gains."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from noise import noise

from bnnjax.config.constraints import LCRConfig
from bnnjax.config.resolved import ResolvedConfig
from bnnjax.config.training import Config
from bnnjax.constraints.lcr import GAINS
from bnnjax.constraints.objective import LEARNED
from bnnjax.data import Dataset
from bnnjax.runs.initial import full_precision
from bnnjax.runs.resolve import resolve
from bnnjax.runs.setup import make_network, make_setup
from bnnjax.train.parallel import compile_task, make_mesh
from bnnjax.train.step import Images

BATCH = 16  # all training images, so that every step sees the same


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return noise(BATCH)


def configured(lcr: LCRConfig, **fields: Any) -> ResolvedConfig:
    given: dict[str, Any] = {"model": "resnet_tiny", "constraint": "lcr", "epochs": 30, "batch_size": BATCH}
    return resolve(Config(lcr=lcr, **({"learning_rate": 0.02} | given | fields)))


def compiled_for(dataset: Dataset, config: ResolvedConfig) -> tuple[Any, Any, Any, partial[Images]]:
    """Returns the compiled task, its state, its arguments and the data without the teacher."""
    teachers = {"lcr": make_network(full_precision(config), dataset)} if config.compares else {}
    mesh = make_mesh(BATCH, jax.devices()[:1])
    compiled = compile_task(make_setup(config, dataset, teachers).task, mesh, BATCH, BATCH)
    data = Images(jnp.asarray(dataset.train.images), jnp.asarray(dataset.train.labels))
    if teachers:
        arrays = jax.jit(teachers["lcr"].init)(jax.random.key(7))
        data = data._replace(teacher={"lcr": arrays})
    key = jax.random.key(1)
    return compiled, compiled.init(jax.random.key(0)).train, (compiled.order(key, 0), key), data


def train(dataset: Dataset, steps: int, lcr: LCRConfig, **fields: Any) -> list[Any]:
    """Returns the states, the first before any step."""
    compiled, state, (order, key), data = compiled_for(dataset, configured(lcr, **fields))
    states = [jax.tree.map(np.asarray, state)]
    for _ in range(steps):
        state = compiled.train(state, data, order, key)
        states.append(jax.tree.map(np.asarray, state))
    return states


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "model", "strength", "rate", "steps"),
    [
        ("repo", "resnet_tiny", 1e6, 0.02, 12),
        ("repo", "vgg_tiny", 1e6, 0.02, 12),
        # Signs flip, so that it falls unevenly.
        ("paper", "resnet_tiny", 200.0, 0.003, 30),
    ],
)
def test_training_lowers_the_penalty(
    dataset: Dataset, form: Any, model: str, strength: float, rate: float, steps: int
) -> None:
    def penalties(factor: float) -> list[float]:
        lcr = LCRConfig(form=form, strength=strength * factor)
        states = train(dataset, steps, lcr, model=model, learning_rate=rate)
        return [float(state.totals.penalty) / factor for state in states[1:]]

    strong, weak = penalties(1), penalties(1e-6)
    assert strong[0] == pytest.approx(weak[0], rel=1e-3)
    assert np.mean(strong[-5:]) < 0.8 * strong[0]
    assert np.mean(strong[-5:]) < 0.8 * np.mean(weak[-5:])


@pytest.mark.slow
def test_the_batch_divides_the_strength_and_another_teacher_another_penalty(dataset: Dataset) -> None:
    compiled, state, (order, key), data = compiled_for(dataset, configured(LCRConfig(strength=1e4)))
    copy = partial(jax.tree.map, jnp.copy)
    usual = float(compiled.train(copy(state), data, order, key).totals.penalty)
    doubled = jax.tree_util.tree_map_with_path(
        lambda path, leaf: 3 * leaf if path[-1].key == "gain" else leaf, data.teacher
    )
    changed = float(compiled.train(copy(state), data._replace(teacher=doubled), order, key).totals.penalty)
    assert usual > 0
    assert changed > 1.5 * usual
    strong = compiled_for(dataset, configured(LCRConfig(strength=2e4)))[0]
    assert float(strong.train(copy(state), data, order, key).totals.penalty) == pytest.approx(2 * usual)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_second_pass_moves_the_batch_statistics_twice_and_nothing_else(
    dataset: Dataset, precision: str
) -> None:
    fields: dict[str, Any] = {"precision": precision}
    before, once = train(dataset, 1, LCRConfig(strength=1e5), **fields)
    _, twice = train(dataset, 1, LCRConfig(strength=1e5, second_pass=True), **fields)
    for start, one, two in zip(
        *(jax.tree.leaves(state.batch_stats) for state in (before, once, twice)), strict=True
    ):
        # Each pass goes a tenth of the way from what was there to this batch's statistics.
        np.testing.assert_allclose(two, one + 0.9 * (one - start), rtol=1e-4, atol=1e-5)
        assert not np.allclose(one, two)
    assert float(once.totals.penalty) == pytest.approx(float(twice.totals.penalty), rel=1e-3)
    if precision == "float32":
        for one, two in zip(jax.tree.leaves(once.params), jax.tree.leaves(twice.params), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_second_pass_is_computed_and_not_merged_with_the_first(dataset: Dataset) -> None:
    def flops(config: ResolvedConfig) -> float:
        compiled, state, (order, key), data = compiled_for(dataset, config)
        return compiled.train.lower(state, data, order, key).compile().cost_analysis()["flops"]

    none = flops(configured(LCRConfig(), constraint="none"))
    once = flops(configured(LCRConfig()))
    twice = flops(configured(LCRConfig(second_pass=True)))
    assert twice - once > 0.8 * none
    assert flops(configured(LCRConfig(gains=True))) < 1.01 * once


@pytest.mark.slow
def test_gains_are_trained_without_decay_and_start_as_ones(dataset: Dataset) -> None:
    begin, *states = train(dataset, 3, LCRConfig(strength=1e5, gains=True), weight_decay=0.0)
    np.testing.assert_array_equal(begin.params[LEARNED][GAINS], np.ones(2))
    assert (np.abs(states[-1].params[LEARNED][GAINS] - 1) > 1e-6).all()
    assert all(LEARNED not in state.params for state in train(dataset, 1, LCRConfig()))
    # Without a gradient nothing moves them, decay neither.
    still = train(dataset, 2, LCRConfig(strength=0.0, gains=True), weight_decay=0.5)
    np.testing.assert_array_equal(still[-1].params[LEARNED][GAINS], np.ones(2))


def test_the_network_is_the_same_with_gains_or_without_at_inference(dataset: Dataset) -> None:
    compiled, state, _, _ = compiled_for(dataset, configured(LCRConfig(gains=True)))
    plain = compiled_for(dataset, configured(LCRConfig()))[0]
    params = {name: tree for name, tree in state.params.items() if name != LEARNED}
    images = dataset.test.images[:20]
    np.testing.assert_array_equal(
        compiled.predict(state.params, state.batch_stats, images),
        plain.predict(params, state.batch_stats, images),
    )


@pytest.mark.parametrize(
    "method",
    [*(pytest.param(name, marks=pytest.mark.slow) for name in ("rbnn", "reactnet", "abcnet")), "dorefa"],
)
def test_the_paper_form_goes_with_methods_that_have_more_than_signs(dataset: Dataset, method: str) -> None:
    states = train(dataset, 2, LCRConfig(form="paper"), method=method, epochs=4)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(states[-1].params))
    assert states[-1].totals.penalty > 0
