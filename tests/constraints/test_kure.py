"""The kurtosis of latent kernels: by hand, by finite differences, for constants, and in training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.config.constraints import KureConfig, L1InfConfig
from bnnjax.config.training import Config
from bnnjax.constraints import Seen
from bnnjax.constraints.kure import kure, kurtosis
from bnnjax.models.network import latents_by_unit


def penalty(latents, **options):
    value, state = kure(KureConfig(**options)).penalty(Seen({}, latents, jnp.float32(0)), ())
    assert state == ()
    return value


def by_definition(kernel):
    kernel = np.asarray(kernel, np.float64)
    return np.mean(((kernel - kernel.mean()) / kernel.std(ddof=1)) ** 4)


def test_kurtosis_by_hand():
    # Mean 3, deviations -3 and 1 (three times): variance 12 / 3; (81 + 3) / 4 / 16.
    np.testing.assert_allclose(kurtosis(jnp.array([0.0, 4, 4, 4]).reshape(2, 1, 1, 2)), 21 / 16, rtol=1e-6)
    # Two points: (n - 1)^2 / n^2.
    np.testing.assert_allclose(kurtosis(jnp.array([5.0, -5, 5, -5])), 9 / 16, rtol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e6])
def test_kurtosis_is_that_of_known_laws_at_any_scale(scale):
    rng = np.random.default_rng(0)
    for law, expected in [
        (rng.normal(size=40000), 3),
        (rng.uniform(size=40000), 1.8),
        (rng.integers(0, 2, 40000), 1),
    ]:
        kernel = scale * (law - 0.5)
        found = float(kurtosis(jnp.asarray(kernel, jnp.float32)))
        assert found == pytest.approx(by_definition(kernel), rel=1e-4)
        assert found == pytest.approx(expected, rel=0.05)


def test_the_penalty_is_the_mean_over_layers_of_the_squared_distance():
    latents = {"a": jnp.array([0.0, 4, 4, 4]), "b": jnp.array([5.0, -5, 5, -5])}
    expected = 0.5 * ((21 / 16 - 1.8) ** 2 + (9 / 16 - 1.8) ** 2) / 2
    np.testing.assert_allclose(penalty(latents, strength=0.5), expected, rtol=1e-6)
    np.testing.assert_allclose(
        penalty({"b": latents["b"]}, strength=1.0, target=1.0), (7 / 16) ** 2, rtol=1e-6
    )


def test_the_gradient_is_that_of_the_definition():
    kernel = np.random.default_rng(1).normal(size=(3, 2, 1, 2))
    gradient = jax.grad(lambda w: penalty({"a": w}, strength=0.7, target=1.0))(
        jnp.asarray(kernel, jnp.float32)
    )
    for place in np.ndindex(kernel.shape):
        step = np.zeros(kernel.shape)
        step[place] = 1e-5
        up, down = ((by_definition(kernel + sign * step) - 1) ** 2 for sign in (1, -1))
        np.testing.assert_allclose(gradient[place], 0.7 * (up - down) / 2e-5, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_a_constant_kernel_has_kurtosis_zero_and_a_finite_gradient(value):
    found, gradient = jax.value_and_grad(kurtosis)(jnp.full((2, 2, 1, 2), value))
    assert found == 0
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": -1.0}, "kure.strength must be 0 or positive, and finite; got -1.0"),
        ({"target": 0.5}, "kure.target must be at least 1, and finite; got 0.5"),
        ({"target": np.nan}, "kure.target must be at least 1, and finite; got nan"),
    ],
)
def test_settings_outside_their_range_are_refused(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        KureConfig(**options)


def test_a_network_without_latent_kernels_is_refused(train):
    with pytest.raises(
        ValueError, match=r"^constraint kure is about .*, of which method fp at 32 bits has none$"
    ):
        train(0, constraint="kure", method="fp")


@pytest.mark.slow
def test_in_training_with_l1inf_the_kurtosis_nears_its_target(train):
    _, states = train(
        16,
        epochs=4,
        constraint="l1inf,kure",
        l1inf=L1InfConfig(form="hard", radius=5.0),
        kure=KureConfig(strength=1.0),
        learning_rate=0.05,
    )
    first, last = (
        np.mean([(by_definition(latent) - 1.8) ** 2 for latent in latents_by_unit(state.params).values()])
        for state in (states[0], states[-1])
    )
    assert last < 0.5 * first
    # The penalty recorded after the first step is that of the network before it.
    np.testing.assert_allclose(states[1].totals.penalty, first, rtol=1e-4)


def test_the_configuration_names_it():
    with pytest.raises(ValueError, match=r"^the kure settings act with constraint kure only; got none$"):
        Config(kure=KureConfig(target=1.0))
