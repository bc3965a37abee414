"""SGD and AdamW against NumPy loops, weight decay on kernels only, and the learning rate at known steps."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bnnjax.train.optimizer import decay_mask, learning_rate_schedule, make_optimizer

Params = dict[str, dict[str, Any]]


def params() -> Params:
    rng = np.random.default_rng(0)
    return {
        "conv": {"latent": rng.normal(size=(2, 3))},
        "dense": {"kernel": rng.normal(size=(3,)), "bias": rng.normal(size=(2,))},
        "norm": {
            "gain": rng.normal(size=(4,)),
            "bias": rng.normal(size=(4,)),
            "scale": rng.normal(size=(1,)),
        },
    }


def gradients(step: int) -> Params:
    rng = np.random.default_rng(100 + step)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), params())


def steps_of(optimizer: optax.GradientTransformation, count: int) -> Params:
    with jax.enable_x64(True):
        values = jax.tree.map(jnp.asarray, params())
        state = optimizer.init(values)
        for step in range(count):
            updates, state = optimizer.update(jax.tree.map(jnp.asarray, gradients(step)), state, values)
            values = optax.apply_updates(values, updates)
        return jax.tree.map(np.asarray, values)


def assert_close(left: Params, right: Params) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9), left, right)


def is_decayed(path: Any) -> bool:
    return path[-1].key in ("kernel", "latent")


def rate(step: int) -> float:
    return 0.1 / (step + 1)


def scaled(tree: Params, factor: float) -> Params:
    return jax.tree.map(lambda leaf: factor * leaf, tree)


def schedule(step: Any) -> Any:
    return 0.1 / (step + 1)


def test_sgd_is_momentum_over_gradient_plus_decayed_weight() -> None:
    expected, velocity = params(), jax.tree.map(np.zeros_like, params())
    for step in range(4):
        decayed = jax.tree_util.tree_map_with_path(
            lambda path, w, g: g + 0.05 * w if is_decayed(path) else g, expected, gradients(step)
        )
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, decayed)
        expected = jax.tree.map(np.subtract, expected, scaled(velocity, rate(step)))
    assert_close(steps_of(make_optimizer("sgd", schedule, 0.05, 0.9), 4), expected)


def test_nesterov_looks_ahead_by_one_more_step_of_the_momentum() -> None:
    expected, velocity = params(), jax.tree.map(np.zeros_like, params())
    for step in range(4):
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, gradients(step))
        ahead = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, gradients(step))
        expected = jax.tree.map(np.subtract, expected, scaled(ahead, rate(step)))
    assert_close(steps_of(make_optimizer("sgd", schedule, 0.0, 0.9, nesterov=True), 4), expected)


def test_adamw_decays_apart_from_the_gradient() -> None:
    expected = params()
    first, second = (jax.tree.map(np.zeros_like, params()) for _ in range(2))
    for step in range(4):
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients(step))
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, second, gradients(step))

        def update(path: Any, w: Any, m: Any, v: Any, step: int = step) -> Any:
            direction = m / (1 - 0.9 ** (step + 1)) / (np.sqrt(v / (1 - 0.999 ** (step + 1))) + 1e-8)
            return w - rate(step) * (direction + (0.05 * w if is_decayed(path) else 0))

        expected = jax.tree_util.tree_map_with_path(update, expected, first, second)
    assert_close(steps_of(make_optimizer("adamw", schedule, 0.05, 0.9), 4), expected)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_only_kernels_and_latent_weights_shrink_without_a_gradient(name: Any) -> None:
    optimizer = make_optimizer(name, lambda step: 0.1, 0.5, 0.0)
    before = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params())
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, before), optimizer.init(before), before)
    after = optax.apply_updates(before, updates)

    def check(path: Any, old: Any, new: Any) -> None:
        np.testing.assert_allclose(new, old * (0.95 if is_decayed(path) else 1), rtol=1e-6)

    jax.tree_util.tree_map_with_path(check, before, after)


def test_a_parameter_of_unknown_name_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"\['layer'\]\['embedding'\].*DECAYED"):
        decay_mask({"layer": {"embedding": np.ones(2)}})
    with pytest.raises(ValueError, match="embedding"):
        make_optimizer("sgd", lambda step: 0.1, 0.0, 0.9).init({"embedding": jnp.ones(2)})


@pytest.mark.parametrize(
    ("step", "expected"),
    # 10 steps of warm-up to 0.2, then half a cosine over 40.
    [(0, 0.0), (1, 0.02), (5, 0.1), (10, 0.2), (20, 0.1 * (1 + 0.5**0.5)), (30, 0.1), (50, 0.0)],
)
def test_learning_rate_rises_on_a_line_and_falls_on_a_cosine(step: int, expected: float) -> None:
    assert float(learning_rate_schedule(0.2, 50, 10)(step)) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.2), (25, 0.1), (50, 0.0)])
def test_without_a_warm_up_the_first_step_has_the_peak(step: int, expected: float) -> None:
    assert float(learning_rate_schedule(0.2, 50, 0)(step)) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("warmup", [50, 51])
def test_a_warm_up_that_never_ends_is_refused(warmup: int) -> None:
    with pytest.raises(ValueError, match=f"{warmup} steps must be shorter than the training's 50"):
        learning_rate_schedule(0.2, 50, warmup)


@pytest.mark.parametrize(
    ("step", "expected"),
    # Parts of 20, 30 and 10 steps, each with 4 steps of warm-up to 0.2, then half a cosine.
    [
        *[(0, 0.0), (1, 0.05), (4, 0.2), (12, 0.1), (19, 0.1 * (1 + np.cos(np.pi * 15 / 16)))],
        *[(20, 0.0), (22, 0.1), (24, 0.2), (37, 0.1), (49, 0.1 * (1 + np.cos(np.pi * 25 / 26)))],
        *[(50, 0.0), (54, 0.2), (57, 0.1), (60, 0.0)],
    ],
)
def test_the_learning_rate_starts_anew_at_each_restart(step: int, expected: float) -> None:
    assert float(learning_rate_schedule(0.2, 60, 4, [20, 50])(step)) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.2), (10, 0.1), (20, 0.2), (40, 0.1), (60, 0.0)])
def test_a_restart_without_a_warm_up_is_at_the_peak(step: int, expected: float) -> None:
    traced: Callable[[Any], Any] = jax.jit(learning_rate_schedule(0.2, 60, 0, [20]))
    assert float(traced(step)) == pytest.approx(expected, abs=1e-7)


def test_a_warm_up_as_long_as_the_shortest_part_is_refused() -> None:
    with pytest.raises(ValueError, match="10 steps must be shorter than the shortest stage's 10"):
        learning_rate_schedule(0.2, 60, 10, [20, 50])
    learning_rate_schedule(0.2, 60, 9, [20, 50])


def test_the_schedule_is_one_compiled_function_of_the_step() -> None:
    traced: Callable[[Any], Any] = jax.jit(learning_rate_schedule(0.2, 50, 10))
    assert [float(traced(step)) for step in (3, 30)] == pytest.approx([0.06, 0.1])


@pytest.mark.parametrize(
    ("decay", "step", "expected"),
    [
        ("linear", 0, 0.0),
        ("linear", 10, 0.8),
        ("linear", 55, 0.4),
        ("linear", 99, 0.8 / 90),
        ("steps", 5, 0.4),
        ("steps", 29, 0.8),
        ("steps", 31, 0.08),
        ("steps", 59, 0.08),
        ("steps", 61, 0.008),
        ("steps", 91, 0.0008),
        ("steps", 99, 0.0008),
        ("steps", 129, 0.8),  # after the restart
        ("steps", 131, 0.08),
        ("linear", 155, 0.4),
    ],
)
def test_the_learning_rate_falls_as_it_is_told(decay: Any, step: int, expected: float) -> None:
    learning_rate = learning_rate_schedule(0.8, 200, 10, [100], decay)
    assert float(learning_rate(step)) == pytest.approx(expected, rel=1e-5)
