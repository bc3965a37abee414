"""The best network so far, and whether a state is finite."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bnnjax.train.state import Best, RunState, all_finite, initial_state, keep_best


def state_of(value: float) -> RunState:
    return initial_state({"kernel": jnp.full(3, value)}, {"mean": jnp.full(2, value)}, optax.sgd(0.1))


def best_after(accuracies: list[float]) -> Best:
    best = state_of(0.0).best
    for epoch, accuracy in enumerate(accuracies, start=1):
        best = keep_best(best, state_of(float(epoch)).train, epoch, accuracy)
    return best


@pytest.mark.parametrize(
    ("accuracies", "epoch"),
    [
        ([10.0, 30.0, 20.0], 2),
        ([0.0], 1),
        ([0.0, 0.0], 1),
        # No float32 is any of these: rounding must not make a later equal look better.
        ([100 * (137 / 150)] * 3, 1),
        ([100 / 3] * 3, 1),
        ([100 * (1 / 7)] * 2, 1),
        ([100 * n / 150 for n in (136, 137, 137, 136)], 2),
    ],
)
def test_the_first_of_equals_is_kept(accuracies: list[float], epoch: int) -> None:
    best = best_after(accuracies)
    assert int(best.epoch) == epoch
    assert float(best.accuracy) == pytest.approx(max(accuracies))
    np.testing.assert_array_equal(best.params["kernel"], np.full(3, epoch))
    np.testing.assert_array_equal(best.batch_stats["mean"], np.full(2, epoch))


def test_every_count_of_150_images_equals_itself() -> None:
    for right in range(151):
        accuracy = 100 * float(np.mean(np.arange(150) < right))
        assert int(best_after([accuracy, accuracy]).epoch) == 1


def test_the_best_network_outlives_the_state_that_the_next_step_consumes() -> None:
    train = state_of(2.0).train
    best = keep_best(state_of(0.0).best, train, 1, 50.0)
    consume = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf + 1, state), donate_argnums=0)
    consume(train)
    assert train.params["kernel"].is_deleted()
    np.testing.assert_array_equal(best.params["kernel"], np.full(3, 2.0))
    np.testing.assert_array_equal(best.batch_stats["mean"], np.full(2, 2.0))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_number_anywhere_makes_a_state_not_finite(bad: float) -> None:
    good = state_of(1.0).train
    assert bool(all_finite(good))
    assert not bool(all_finite(good._replace(params={"kernel": jnp.array([1.0, bad, 1.0])})))
    assert not bool(all_finite(good._replace(batch_stats={"mean": jnp.array([bad, 1.0])})))
