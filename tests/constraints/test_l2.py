"""The L2 norm of kernels: which kernels each target means, and in training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.config.constraints import L1InfConfig, L2Config
from bnnjax.constraints import Seen
from bnnjax.constraints.l2 import l2
from bnnjax.models.network import latents_by_unit

LATENTS = {"a": jnp.array([[1.0, -2.0]])}
KERNELS = {"stem": jnp.array([3.0, 0.0]), "a": jnp.array([[-4.0, 1.0]])}


def penalty(latents, kernels, **options):
    value, state = l2(L2Config(**options)).penalty(Seen({}, latents, jnp.float32(0), kernels), ())
    assert state == ()
    return value


@pytest.mark.parametrize(("target", "squares"), [("folded", 9 + 16 + 1), ("latent", 1 + 4)])
def test_the_penalty_is_the_sum_of_squares(target, squares):
    assert penalty(LATENTS, KERNELS, target=target, strength=0.5) == 0.5 * squares
    by_latents, by_kernels = jax.grad(lambda *kernels: penalty(*kernels, target=target), (0, 1))(
        LATENTS, KERNELS
    )
    assert any(np.any(leaf) for leaf in by_latents.values()) == (target == "latent")
    assert any(np.any(leaf) for leaf in by_kernels.values()) == (target == "folded")


def test_the_gradient_is_twice_the_kernel():
    gradient = jax.grad(lambda kernels: penalty({}, kernels, strength=0.25))(KERNELS)
    for name, kernel in KERNELS.items():
        np.testing.assert_array_equal(gradient[name], 0.5 * kernel)


def test_a_strength_below_zero_is_refused():
    with pytest.raises(ValueError, match=r"^l2.strength must be 0 or positive, and finite; got -1.0$"):
        L2Config(strength=-1.0)


def test_without_latent_kernels_the_folded_target_alone_is_defined(train):
    assert train(0, constraint="l2", method="fp")
    with pytest.raises(ValueError, match=r"^constraint l2 is about latent kernels, .* method fp"):
        train(0, constraint="l2", method="fp", l2=L2Config(target="latent"))


def folded(network, state):
    kernels = jax.jit(network.kernels)(state.params, state.batch_stats)
    return sum(float(np.sum(np.asarray(kernel, np.float64) ** 2)) for kernel in kernels.values())


@pytest.mark.slow
def test_in_training_with_l1inf_the_folded_norm_falls(train):
    network, states = train(
        12,
        epochs=3,
        learning_rate=0.02,
        constraint="l1inf,l2",
        l1inf=L1InfConfig(form="hard", radius=50.0),
        l2=L2Config(strength=0.01),
    )
    assert folded(network, states[-1]) < 0.8 * folded(network, states[0])


def test_in_training_the_latent_norm_falls_with_its_own_target(train):
    settings = {"constraint": "l2", "l2": L2Config(target="latent", strength=0.01)}
    _, states = train(12, epochs=3, learning_rate=0.02, **settings)
    first, last = (
        sum(np.sum(latent**2) for latent in latents_by_unit(state.params).values())
        for state in (states[0], states[-1])
    )
    np.testing.assert_allclose(states[1].totals.penalty, 0.01 * first, rtol=1e-5)
    assert last < first
