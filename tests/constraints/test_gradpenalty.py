"""The input-gradient penalty: its estimate against whole Jacobians, and in training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from noise import BATCH, noise

from bnnjax.config.constraints import GradPenaltyConfig, L1InfConfig, L2Config
from bnnjax.config.training import Config
from bnnjax.constraints import Seen
from bnnjax.constraints.base import InputGradient
from bnnjax.constraints.gradpenalty import gradpenalty, squared_jacobian
from bnnjax.runs.resolve import resolve
from bnnjax.runs.setup import make_setup
from bnnjax.train.learner import Moment
from bnnjax.train.parallel import make_mesh


def linear(jacobian, batch, seed=0):
    """The input gradient of logits that each image moves by the same [classes, h, w, c]."""
    keys = jax.random.split(jax.random.key(seed), batch)
    logits = jnp.zeros((batch, len(jacobian)))
    return InputGradient(lambda v: jnp.tensordot(v, jacobian, 1), logits, keys)


@pytest.mark.parametrize("projections", [1, 3])
def test_the_estimate_is_exact_where_all_directions_are_alike(projections):
    # One class: the sphere is -1 and 1.  By hand 1 + 4 + 4.
    one = jnp.array([1.0, -2.0, 2.0]).reshape(1, 1, 1, 3)
    np.testing.assert_allclose(squared_jacobian(linear(one, 2), projections), 9, rtol=1e-6)
    # Three orthogonal rows of length 2: |v^T J| = 2 for every v, and ||J||^2 = 12.
    three = 2 * jnp.eye(3, 4).reshape(3, 2, 2, 1)
    np.testing.assert_allclose(squared_jacobian(linear(three, 2), projections), 12, rtol=1e-6)


def test_the_estimate_has_the_right_expectation():
    jacobian = np.random.default_rng(0).normal(size=(10, 2, 2, 3)) * np.arange(1, 11)[:, None, None, None]
    estimates = [squared_jacobian(linear(jnp.asarray(jacobian, jnp.float32), 4000), n) for n in (1, 2)]
    np.testing.assert_allclose(estimates, np.sum(jacobian**2), rtol=0.03)


def test_each_image_and_each_projection_has_a_direction_of_its_own():
    met = []
    gradient = linear(jnp.ones((5, 1, 1, 1)), 3)
    squared_jacobian(gradient._replace(pull=lambda v: met.append(np.asarray(v)) or v), 2)
    directions = np.concatenate(met)
    assert directions.shape == (6, 5)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-6)
    assert np.abs(directions @ directions.T - np.eye(6)).max() < 0.999


def test_the_penalty_is_the_estimate_times_the_strength():
    seen = Seen({}, {}, jnp.float32(0), input_gradient=linear(jnp.full((1, 1, 1, 4), 3.0), 2))
    value, state = gradpenalty(GradPenaltyConfig(strength=0.5)).penalty(seen, ())
    np.testing.assert_allclose(value, 0.5 * 36, rtol=1e-6)
    assert state == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": -1.0}, "gradpenalty.strength must be 0 or positive, and finite; got -1.0"),
        ({"projections": 0}, "gradpenalty.projections must be at least 1; got 0"),
    ],
)
def test_settings_outside_their_range_are_refused(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        GradPenaltyConfig(**options)


@pytest.mark.parametrize("method", [pytest.param("fp", marks=pytest.mark.slow), "irnet"])
def test_of_a_network_it_is_that_of_the_whole_jacobian(method):
    """Over all images: batch norms let each image move the logits of all."""
    dataset = noise()
    config = Config(
        model="vgg_tiny",
        method=method,
        epochs=2,
        batch_size=BATCH,
        constraint="gradpenalty",
        gradpenalty=GradPenaltyConfig(strength=1.0),
    )
    setup = make_setup(resolve(config), dataset)
    constrained = setup.task.learner.constrained
    params, batch_stats = jax.jit(constrained.init)(jax.random.key(0))
    images = jnp.asarray(np.random.default_rng(0).normal(size=(4, 8, 8, 3)), jnp.float32)

    def forward(images, key):
        moment = Moment(jnp.float32(0), jnp.bool_(True), key)
        return constrained.forward(params, batch_stats, images, moment, constrained.carried(), {})

    def both(keys):
        def estimate(key):
            return forward(images, key)[1].penalty

        def logits(images):
            return forward(images, keys[0])[0]

        return jax.lax.map(estimate, keys), jax.jacrev(logits)(images)

    mapped = jax.shard_map(
        both, mesh=make_mesh(4, jax.devices()[:1]), in_specs=P(), out_specs=P(), check_vma=False
    )
    estimates, jacobian = jax.jit(mapped)(jax.random.split(jax.random.key(1), 200))
    assert np.std(estimates) > 0  # another direction for each step
    across = np.asarray(jacobian)[0, :, 1]
    assert np.any(across != 0)
    np.testing.assert_allclose(np.mean(estimates), np.sum(np.asarray(jacobian) ** 2) / 4, rtol=0.1)


@pytest.mark.slow
def test_in_training_the_penalty_falls_with_others_beside_it(train):
    settings = {
        "constraint": "l1inf,gradpenalty,l2",
        "l1inf": L1InfConfig(form="hard", radius=1000.0),
        "l2": L2Config(strength=0.0),
        "gradpenalty": GradPenaltyConfig(strength=0.5, projections=2),
    }
    _, states = train(16, epochs=4, learning_rate=0.02, **settings)
    # Totals are those of an epoch so far: of its first step, and the mean of its four.
    first, last = states[1].totals.penalty, states[16].totals.penalty / 4
    assert last < 0.5 * first


@pytest.mark.slow
def test_a_strength_of_zero_changes_nothing(train):
    settings = {"constraint": "gradpenalty", "gradpenalty": GradPenaltyConfig(strength=0.0)}
    _, plain = train(2, learning_rate=0.02)
    _, states = train(2, learning_rate=0.02, **settings)
    for before, after in zip(
        jax.tree.leaves(plain[-1].params), jax.tree.leaves(states[-1].params), strict=True
    ):
        np.testing.assert_allclose(before, after, rtol=1e-3, atol=1e-5)
