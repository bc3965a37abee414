"""Orthogonal filters: the penalty and its gradient, the retraction, wide kernels, and in training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.config.constraints import KureConfig, ParsevalConfig
from bnnjax.constraints import Seen
from bnnjax.constraints.parseval import departure, parseval, retract
from bnnjax.models.network import latents_by_unit


def gram_departure(kernel):
    matrix = np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1])
    return np.sum((matrix.T @ matrix - np.eye(matrix.shape[1])) ** 2)


def test_the_penalty_is_the_sum_over_layers():
    tall = jnp.array([[3.0, 1.0], [0.0, 1.0], [0.0, 0.0]]).reshape(3, 1, 1, 2)
    # M^T M - I = [[8, 3], [3, 1]].
    assert departure(tall) == 64 + 9 + 9 + 1
    orthogonal = jnp.eye(4).reshape(2, 2, 1, 4)
    assert departure(orthogonal) == 0
    constraint = parseval(ParsevalConfig(strength=0.5))
    value, state = constraint.penalty(Seen({}, {"a": tall, "b": 2 * orthogonal}, jnp.float32(0)), ())
    assert (value, state) == (0.5 * (83 + 4 * 9), ())
    assert constraint.project_latent is None


@pytest.mark.parametrize("shape", [(2, 2, 2, 3), (1, 1, 3, 7), (1, 1, 4, 4)])
def test_wide_kernels_differ_by_a_constant_only(shape):
    kernel = np.random.default_rng(0).normal(size=shape)
    fan_in, features = kernel[..., 0].size, shape[-1]
    value, gradient = jax.value_and_grad(departure)(jnp.asarray(kernel, jnp.float32))
    np.testing.assert_allclose(value, gram_departure(kernel) - max(features - fan_in, 0), rtol=1e-5)
    for place in np.ndindex(shape):
        step = np.zeros(shape)
        step[place] = 1e-5
        slope = (gram_departure(kernel + step) - gram_departure(kernel - step)) / 2e-5
        np.testing.assert_allclose(gradient[place], slope, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(2, 2, 2, 3), (1, 1, 3, 7), (1, 1, 4, 4), (3, 3, 2, 1)])
def test_the_retraction_is_the_published_step_and_ends_orthogonal(shape):
    kernel = np.random.default_rng(1).normal(size=shape) / 2
    matrix = kernel.reshape(-1, shape[-1])
    expected = 1.25 * matrix - 0.25 * matrix @ matrix.T @ matrix
    latent = retract(jnp.asarray(kernel, jnp.float32), 0.25)
    assert latent.shape == shape
    np.testing.assert_allclose(latent.reshape(matrix.shape), expected, rtol=1e-4, atol=1e-6)
    step = jax.jit(lambda latent: retract(latent, 0.5))
    for _ in range(60):
        latent = step(latent)
    found = np.linalg.svd(np.asarray(latent).reshape(matrix.shape), compute_uv=False)
    np.testing.assert_allclose(found, 1, rtol=1e-4)


def test_a_kernel_of_zeros_stays_and_has_a_finite_gradient():
    zero = jnp.zeros((3, 3, 2, 4))
    np.testing.assert_array_equal(retract(zero, 0.5), zero)
    assert not np.any(jax.grad(departure)(zero))


def test_the_retraction_has_no_penalty():
    constraint = parseval(ParsevalConfig(form="retraction", beta=0.5))
    assert constraint.penalty is None
    # s = 1/2 -> 1/2 (3/2 - 1/8).
    np.testing.assert_allclose(constraint.project_latent(jnp.full((1, 1), 0.5)), 0.6875)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": np.inf}, "parseval.strength must be 0 or positive, and finite; got inf"),
        ({"beta": 0.0}, r"parseval.beta must be in \(0, 1\); got 0.0"),
        ({"beta": 1.0}, r"parseval.beta must be in \(0, 1\); got 1.0"),
    ],
)
def test_settings_outside_their_range_are_refused(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        ParsevalConfig(**options)


def departures(state):
    return [gram_departure(latent) for latent in latents_by_unit(state.params).values()]


@pytest.mark.slow
def test_in_training_with_kure_the_penalty_falls(train):
    settings = {
        "constraint": "kure,parseval",
        "parseval": ParsevalConfig(strength=0.05),
        "kure": KureConfig(strength=0.0),
    }
    _, states = train(12, epochs=3, learning_rate=0.05, **settings)
    np.testing.assert_allclose(states[1].totals.penalty, 0.05 * sum(departures(states[0])), rtol=1e-4)
    assert sum(departures(states[-1])) < 0.5 * sum(departures(states[0]))


def test_in_training_the_retraction_comes_before_the_clip(train):
    settings = {"constraint": "parseval", "parseval": ParsevalConfig(form="retraction", beta=0.3)}
    _, states = train(14, epochs=4, learning_rate=1e-3, **settings)
    assert states[-1].totals.penalty == 0
    assert max(departures(states[-1])) < 0.01 < 1 < min(departures(states[0]))
    _, states = train(1, latent_clip=0.05, **settings)
    latents = latents_by_unit(states[1].params).values()
    assert max(np.abs(latent).max() for latent in latents) == np.float32(0.05)
