"""Spectral norms of units: the estimate, the penalty and its gradient, the limit, and in training."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.bounds.chain import UnitStats
from bnnjax.config.constraints import L1InfConfig, SpectralConfig
from bnnjax.config.training import Config
from bnnjax.constraints import After, Seen, make_constraint
from bnnjax.constraints.spectral import spectral
from bnnjax.train.checkpoint import Checkpoints

# Singular values by hand: the columns of a are orthogonal, 5 and 2 long; b has one channel, 3 long.
KERNELS = {
    "a": jnp.array([[3.0, 0.0], [4.0, 0.0], [0.0, 2.0]]).reshape(3, 1, 1, 2),
    "b": jnp.array([1.0, -2.0, 2.0]).reshape(1, 1, 3, 1),
}


def seen(kernels):
    return Seen({}, {}, jnp.float32(0.5), kernels)


def start(constraint, kernels):
    return constraint.init({name: kernel.shape for name, kernel in kernels.items()})


def settled(constraint, kernels, steps=30):
    state = start(constraint, kernels)
    for _ in range(steps):
        _, state = constraint.penalty(seen(kernels), state)
    return state


def units(gains):
    one = jnp.ones(1)
    return {name: UnitStats(*[one] * 7)._replace(gain=jnp.asarray(gain)) for name, gain in gains.items()}


def svd(kernel):
    return np.linalg.norm(np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1]), 2)


def test_the_penalty_is_the_sum_of_squares():
    constraint = spectral(SpectralConfig(strength=0.5))
    value, _ = constraint.penalty(seen(KERNELS), settled(constraint, KERNELS))
    np.testing.assert_allclose(value, 0.5 * (5**2 + 3**2), rtol=1e-6)
    assert constraint.project_gains is None
    assert constraint.needs == {"kernels"}


def test_the_estimate_rises_from_step_to_step_to_the_singular_value():
    rng = np.random.default_rng(0)
    kernels = {name: jnp.asarray(rng.normal(size=(3, 3, 4, 6)), jnp.float32) for name in ("x", "y/z")}
    constraint = spectral(SpectralConfig(strength=1.0))
    state, found = start(constraint, kernels), []
    assert not np.allclose(state["x"], state["y/z"])
    for vector in state.values():
        assert vector.shape == (6,)
        np.testing.assert_allclose(np.linalg.norm(vector), 1, rtol=1e-6)
    for _ in range(60):
        value, state = constraint.penalty(seen(kernels), state)
        found.append(float(value))
    exact = sum(svd(kernel) ** 2 for kernel in kernels.values())
    assert found[0] < 0.95 * exact
    assert np.diff(found).min() > -1e-4
    np.testing.assert_allclose(found[-1], exact, rtol=1e-3)
    # Several iterations a step come as far in fewer steps.
    many = spectral(SpectralConfig(strength=1.0, iterations=5))
    value, _ = many.penalty(seen(kernels), start(many, kernels))
    np.testing.assert_allclose(value, found[4], rtol=1e-5)


def test_the_start_is_always_the_same():
    first, second = (start(spectral(SpectralConfig()), KERNELS) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_the_gradient_is_that_of_the_exact_norm():
    rng = np.random.default_rng(1)
    kernels = {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in
               {"x": (2, 2, 2, 3), "one": (3, 1, 2, 1)}.items()}  # fmt: skip
    constraint = spectral(SpectralConfig(strength=0.25))
    state = settled(constraint, kernels, 100)
    gradient = jax.grad(lambda kernels: constraint.penalty(seen(kernels), state)[0])(kernels)
    for name, kernel in kernels.items():
        wide = np.asarray(kernel, np.float64)
        for place in np.ndindex(kernel.shape):
            step = np.zeros(kernel.shape)
            step[place] = 1e-4
            slope = 0.25 * (svd(wide + step) ** 2 - svd(wide - step) ** 2) / 2e-4
            np.testing.assert_allclose(gradient[name][place], slope, rtol=1e-3, atol=1e-4)


def test_kernels_of_zeros_have_no_norm_and_come_back():
    zeros = jax.tree.map(jnp.zeros_like, KERNELS)
    constraint = spectral(SpectralConfig(form="normalize"))
    state = settled(constraint, zeros, 3)
    value, gradient = jax.value_and_grad(lambda kernels: constraint.penalty(seen(kernels), state)[0])(zeros)
    assert value == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    gains = {"a": [2.0, -1.0], "b": [3.0]}
    projected = constraint.project_gains(After(units(gains), zeros), state)
    for name, gain in gains.items():
        np.testing.assert_array_equal(projected[name], gain)
    for _ in range(30):
        _, state = constraint.penalty(seen(KERNELS), state)
    regularize = spectral(SpectralConfig(strength=1.0))
    np.testing.assert_allclose(regularize.penalty(seen(KERNELS), state)[0], 34, rtol=1e-5)


def test_normalize_divides_the_gains_of_units_above_the_radius_and_leaves_the_classifier():
    constraint = spectral(SpectralConfig(form="normalize", radius=4.0))
    kernels = {**KERNELS, "head": 100 * KERNELS["a"]}
    state = settled(constraint, kernels)
    assert constraint.penalty(seen(kernels), state)[0] == 0
    gains = {"a": [2.0, -1.0], "b": [3.0], "head": [1.0, 1.0]}
    projected = constraint.project_gains(After(units(gains), kernels), state)
    assert projected.keys() == {"a", "b"}
    np.testing.assert_allclose(projected["a"], [2 * 4 / 5, -4 / 5], rtol=1e-6)
    np.testing.assert_array_equal(projected["b"], [3])


def test_after_the_l1inf_projection_the_norm_is_that_of_the_gains_it_left():
    kernel = jnp.array([[4.0, 0.0], [0.0, 3.0]]).reshape(2, 1, 1, 2)
    unit = UnitStats(*[jnp.ones(2)] * 7)._replace(l1=jnp.array([4.0, 3.0]), gain=jnp.ones(2))
    config = Config(
        constraint="l1inf,spectral",
        l1inf=L1InfConfig(form="hard", radius=2.0),
        spectral=SpectralConfig(form="normalize", radius=1.0),
    )
    both = make_constraint(config, ("u",))
    assert both.needs == {"kernels"}
    state = both.init({"u": kernel.shape})
    # L1,inf leaves gains (1/2, 2/3), so channels of norm 2; these are halved.
    for _ in range(30):
        _, state = both.penalty(seen({"u": kernel * jnp.array([0.5, 2 / 3])}), state)
    gains = both.project_gains(After({"u": unit}, {"u": kernel}), state)
    np.testing.assert_allclose(gains["u"], [1 / 4, 1 / 3], rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": -0.1}, "spectral.strength must be 0 or positive, and finite; got -0.1"),
        ({"strength": np.nan}, "spectral.strength must be 0 or positive, and finite; got nan"),
        ({"radius": 0.0}, "spectral.radius must be positive and finite; got 0.0"),
        ({"iterations": 0}, "spectral.iterations must be at least 1; got 0"),
    ],
)
def test_settings_outside_their_range_are_refused(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        SpectralConfig(**options)


def exact(network, state):
    kernels = jax.jit(network.kernels)(state.params, state.batch_stats)
    return {name: svd(kernel) for name, kernel in kernels.items()}, kernels


def test_in_training_the_penalty_falls_and_the_vectors_follow_the_network(train, tmp_path):
    settings = {"constraint": "l1inf,spectral", "spectral": SpectralConfig(strength=0.05)}
    network, states = train(16, epochs=4, learning_rate=0.02, **settings)
    (before, _), (after, kernels) = exact(network, states[0]), exact(network, states[-1])
    assert sum(norm**2 for norm in after.values()) < 0.8 * sum(norm**2 for norm in before.values())
    nothing, vectors = states[-1].carried
    assert nothing == ()
    assert vectors.keys() == after.keys()
    for name, vector in vectors.items():
        matrix = np.asarray(kernels[name]).reshape(-1, kernels[name].shape[-1])
        assert 0.85 * after[name] <= np.linalg.norm(matrix @ vector) <= after[name] * (1 + 1e-5), name
    # A checkpoint holds them.
    checkpoints = Checkpoints(tmp_path, print)
    try:
        checkpoints.save(16, states[-1])
        _, restored = checkpoints.restore(states[0]) or pytest.fail("nothing was saved")
    finally:
        checkpoints.close()
    chex.assert_trees_all_equal(restored, states[-1])


@pytest.mark.slow
def test_in_training_normalize_holds_the_radius(train):
    settings = {"constraint": "spectral", "spectral": SpectralConfig(form="normalize", radius=1.0)}
    network, states = train(12, epochs=4, learning_rate=0.02, **settings)
    (before, _), (after, _) = exact(network, states[0]), exact(network, states[-1])
    assert states[-1].totals.penalty == 0
    assert max(norm for name, norm in before.items() if name != "head") > 1.2
    largest = max(norm for name, norm in after.items() if name != "head")
    assert 0.99 < largest < 1.05  # an estimate from below
