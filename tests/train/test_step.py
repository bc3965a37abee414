"""One step on one device, of a task whose every quantity can be computed by hand."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.data import Augmentation, Split
from bnnjax.runs.learner import TARGETS
from bnnjax.train.parallel import Compiled, compile_task, make_mesh, replicate
from bnnjax.train.state import RunState, TrainState
from bnnjax.train.step import Images, Task

STEPS, BATCH, EXAMPLES = 4, 8, 35
MakeTask, MakeState = Callable[..., Task], Callable[[Task], RunState]


def compiled_on_one_device(task: Task) -> Compiled:
    return compile_task(task, make_mesh(BATCH, jax.devices()[:1]), BATCH, EXAMPLES)


def train(task: Task, state: TrainState, split: Split, count: int) -> list[TrainState]:
    """The states after each of `count` steps."""
    compiled, key = compiled_on_one_device(task), jax.random.key(0)
    data = Images(jnp.asarray(split.images), jnp.asarray(split.labels))
    states = []
    for step in range(count):
        state = compiled.train(state, data, compiled.order(key, step // task.steps_per_epoch), key)
        states.append(jax.tree.map(np.asarray, state))
    return states


def logits_of(params: Any, images: np.ndarray) -> np.ndarray:
    features = ((images / 255 - 0.5) / 0.25).mean(axis=(1, 2))
    return features @ np.asarray(params["kernel"], np.float64) + np.asarray(params["bias"], np.float64)


def cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return float(-(targets * log_p).sum(axis=1).mean())


def first_batch(task: Task) -> np.ndarray:
    return np.asarray(compiled_on_one_device(task).order(jax.random.key(0), 0))[0]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_task_loss_is_cross_entropy_with_smoothed_targets(
    make_task: MakeTask, make_state: MakeState, split: Split, smoothing: float
) -> None:
    task = make_task(label_smoothing=smoothing)
    params = jax.tree.map(np.asarray, make_state(task).train.params)
    state = train(task, make_state(task).train, split, 1)[0]
    batch = first_batch(task)
    targets = (1 - smoothing) * np.eye(5)[split.labels[batch]] + smoothing / 5
    logits = logits_of(params, split.images[batch])
    assert float(state.totals.task_loss) == pytest.approx(cross_entropy(logits, targets), rel=1e-5)
    assert float(state.totals.loss) == float(state.totals.task_loss)
    assert float(state.totals.correct) == np.mean(logits.argmax(1) == split.labels[batch])


def test_with_targets_the_labels_take_no_part_and_the_teacher_gets_no_gradient(
    make_task: MakeTask, make_state: MakeState, split: Split
) -> None:
    class Teacher:
        def logits(self, kernel: jax.Array, batch_stats: Any, images: jax.Array) -> jax.Array:
            return jnp.mean(images, axis=(1, 2)) @ kernel

    teacher = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    task = make_task(teacher=Teacher(), augmentation=Augmentation(flip=True), label_smoothing=0.5)
    before = jax.tree.map(np.asarray, make_state(task).train.params)
    compiled, key = compiled_on_one_device(task), jax.random.key(0)

    def step(labels: np.ndarray) -> TrainState:
        arrays = {TARGETS: (jnp.asarray(teacher), {})}
        data = Images(jnp.asarray(split.images), jnp.asarray(labels), arrays)
        return compiled.train(make_state(task).train, data, compiled.order(key, 0), key)

    state, other = step(split.labels), step(np.zeros_like(split.labels))
    images = split.images[first_batch(task)]
    features = ((images / 255 - 0.5) / 0.25).mean(axis=(1, 2))
    taught = np.exp(features @ teacher)
    taught /= taught.sum(axis=1, keepdims=True)
    logits = logits_of(before, images)
    assert float(state.totals.task_loss) == pytest.approx(cross_entropy(logits, taught), rel=1e-5)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    gradient = (probabilities - taught).mean(axis=0)
    np.testing.assert_allclose(before["bias"] - state.params["bias"], 0.1 * gradient, atol=1e-6)
    for one, two in zip(jax.tree.leaves(state.params), jax.tree.leaves(other.params), strict=True):
        np.testing.assert_array_equal(one, two)
    assert float(state.totals.correct) == np.mean(logits.argmax(1) == split.labels[first_batch(task)])


def test_the_penalty_is_added_to_the_loss_and_to_its_gradient(
    make_task: MakeTask, make_state: MakeState, split: Split
) -> None:
    def penalty(units: Any, carried: Any) -> tuple[jax.Array, Any]:
        return 0.5 * jnp.sum(units[0]["bias"] ** 2), carried

    plain, penalized = make_task(), make_task(penalty=penalty)
    bias = np.asarray(make_state(plain).train.params["bias"])
    without = train(plain, make_state(plain).train, split, 1)[0]
    with_it = train(penalized, make_state(penalized).train, split, 1)[0]
    assert float(with_it.totals.penalty) == pytest.approx(0.5 * float((bias**2).sum()), rel=1e-6)
    assert float(with_it.totals.loss) == pytest.approx(
        float(with_it.totals.task_loss) + float(with_it.totals.penalty), rel=1e-6
    )
    assert float(with_it.totals.task_loss) == float(without.totals.task_loss)
    np.testing.assert_allclose(without.params["bias"] - with_it.params["bias"], 0.1 * bias, atol=1e-6)
    np.testing.assert_array_equal(without.params["kernel"], with_it.params["kernel"])


def test_what_a_penalty_carries_goes_from_step_to_step_and_reaches_the_projections(
    make_task: MakeTask, make_state: MakeState, split: Split
) -> None:
    task = make_task(
        carried=lambda: {"steps": jnp.float32(3)},
        penalty=lambda units, carried: (2 * carried["steps"], {"steps": carried["steps"] + 1}),
        after_update=lambda params, batch_stats, gradients, carried: (
            params,
            {"count": carried["steps"]},
        ),
    )
    state = make_state(task).train
    assert float(state.carried["steps"]) == 3
    states = train(task, state, split, STEPS)
    assert [float(state.carried["steps"]) for state in states] == [4, 5, 6, 7]
    assert [float(state.batch_stats["count"]) for state in states] == [4, 5, 6, 7]
    assert float(states[-1].totals.penalty) == 2 * (3 + 4 + 5 + 6)


def test_totals_begin_anew_with_each_epoch_and_stand_at_its_end(
    make_task: MakeTask, make_state: MakeState, split: Split
) -> None:
    task = make_task()
    states = train(task, make_state(task).train, split, 2 * STEPS)
    assert [int(state.step) for state in states] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [int(state.totals.steps) for state in states] == [1, 2, 3, 4, 1, 2, 3, 4]
    losses = np.diff([0.0, *(float(state.totals.loss) for state in states[:STEPS])])
    assert np.all(losses > 0)
    assert float(states[STEPS].totals.loss) < float(states[STEPS - 1].totals.loss)


def test_schedules_move_once_an_epoch_and_begin_at_zero(
    make_task: MakeTask, make_state: MakeState, split: Split
) -> None:
    seen = make_task(penalty=lambda units, carried: (units[2], carried))  # the penalty shows the schedule
    states = train(seen, make_state(seen).train, split, 3 * STEPS)
    values = [float(state.totals.penalty) / int(state.totals.steps) for state in states]
    expected = [epoch / 3 for epoch in range(3) for _ in range(STEPS)]
    assert values == pytest.approx(expected, abs=1e-6)


def test_an_epoch_begins_with_its_first_step_and_every_step_has_a_key(
    make_task: MakeTask, make_state: MakeState, split: Split
) -> None:
    begins = make_task(
        schedule=lambda moment: moment.epoch_begins, penalty=lambda units, carried: (1.0 * units[2], carried)
    )
    states = train(begins, make_state(begins).train, split, 2 * STEPS)
    assert [float(state.totals.penalty) for state in states] == [1.0] * (2 * STEPS)
    drawn = make_task(
        schedule=lambda moment: jax.random.uniform(moment.key),
        penalty=lambda units, carried: (units[2], carried),
    )
    totals = [float(state.totals.penalty) for state in train(drawn, make_state(drawn).train, split, STEPS)]
    assert len({round(value, 6) for value in np.diff([0.0, *totals])}) == STEPS
    assert totals == [float(s.totals.penalty) for s in train(drawn, make_state(drawn).train, split, STEPS)]


def test_the_first_step_whose_loss_is_not_finite_is_remembered_to_the_end_of_its_epoch(
    make_task: MakeTask, make_state: MakeState, split: Split
) -> None:
    def penalty(units: Any, carried: Any) -> tuple[jax.Array, Any]:
        return jnp.where(units[1]["count"] == 1, jnp.inf, 0.0), carried  # a constant: only this step is bad

    task = make_task(penalty=penalty)
    states = train(task, make_state(task).train, split, STEPS + 1)
    assert [int(state.totals.bad_step) for state in states] == [-1, 2, 2, 2, -1]


def test_projections_come_after_the_update_and_see_the_new_statistics(
    make_task: MakeTask, make_state: MakeState, split: Split
) -> None:
    def after_update(params: Any, batch_stats: Any, gradients: Any, carried: Any) -> Any:
        return params | {"bias": jnp.full(5, batch_stats["count"])}, batch_stats

    task = make_task(after_update=after_update)
    states = train(task, make_state(task).train, split, 2)
    np.testing.assert_array_equal(states[1].params["bias"], np.full(5, 2.0))


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_a_batch_in_parts_takes_the_step_of_the_whole(
    make_task: MakeTask, make_state: MakeState, split: Split, parts: int
) -> None:
    def penalty(units: Any, carried: Any) -> tuple[jax.Array, Any]:
        return 0.5 * jnp.sum(units[0]["bias"] ** 2), carried + 1

    fields: dict[str, Any] = {
        "augmentation": Augmentation(crop_padding=1, flip=True),
        "penalty": penalty,
        "carried": lambda: jnp.float32(0),
        "schedule": lambda moment: jax.random.uniform(moment.key),
    }
    whole, split_up = make_task(**fields), make_task(**fields, accumulate=parts)
    # Mean colours do not know a mirror image, but they do know what a crop has cut off.
    at_once = train(whole, make_state(whole).train, split, 2 * STEPS)
    in_parts = train(split_up, make_state(split_up).train, split, 2 * STEPS)
    for one, other in zip(jax.tree.leaves(at_once), jax.tree.leaves(in_parts), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)
    # Statistics and what a penalty carries moved once a step, the penalty counted once.
    assert [float(state.batch_stats["count"]) for state in in_parts] == list(range(1, 2 * STEPS + 1))
    assert [float(state.carried) for state in in_parts] == list(range(1, 2 * STEPS + 1))
    bias = np.asarray(make_state(whole).train.params["bias"])
    assert float(in_parts[0].totals.penalty) == pytest.approx(0.5 * float((bias**2).sum()), rel=1e-6)


def test_each_part_is_seen_by_itself(make_task: MakeTask, make_state: MakeState, split: Split) -> None:
    """The oracle: a loss that is not a mean over images, part by part."""

    def forward(params: Any, batch_stats: Any, images: jax.Array, schedule: Any, train: bool) -> Any:
        logits = jnp.mean(images, axis=(1, 2)) @ params["kernel"] + params["bias"]
        return logits, batch_stats, jnp.var(jnp.mean(images, axis=(1, 2, 3)))

    task = make_task(forward=forward, penalty=lambda variance, carried: (variance, carried), accumulate=2)
    state = train(task, make_state(task).train, split, 1)[0]
    means = ((split.images[first_batch(task)] / 255 - 0.5) / 0.25).mean(axis=(1, 2, 3))
    halves = means.reshape(2, BATCH // 2)
    assert float(state.totals.penalty) == pytest.approx(float(halves.var(axis=1).mean()), rel=1e-5)
    assert not np.isclose(halves.var(axis=1).mean(), means.var(), rtol=1e-2)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 35])
def test_prediction_gives_logits_for_any_number_of_images(
    make_task: MakeTask, make_state: MakeState, split: Split, count: int
) -> None:
    task = make_task()
    params = make_state(task).train.params
    logits = compiled_on_one_device(task).predict(params, {"count": jnp.zeros(())}, split.images[:count])
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, logits_of(params, split.images[:count]), rtol=1e-4, atol=1e-5)


def test_state_is_consumed_and_data_is_not(make_task: MakeTask, make_state: MakeState, split: Split) -> None:
    task = make_task()
    compiled, key = compiled_on_one_device(task), jax.random.key(0)
    mesh = make_mesh(BATCH, jax.devices()[:1])
    data = replicate(mesh, Images(jnp.asarray(split.images), jnp.asarray(split.labels)))
    state = replicate(mesh, make_state(task).train)
    compiled.train(state, data, compiled.order(key, 0), key)
    assert state.params["kernel"].is_deleted()
    assert not data.images.is_deleted()
