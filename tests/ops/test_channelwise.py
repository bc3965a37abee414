"""Functions with parameters per channel: values, gradients by hand, and gradient sums in float32."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.ops.channelwise import channelwise

X = np.random.default_rng(0).normal(size=(4, 5, 3, 6)).astype(np.float32)
G = np.random.default_rng(1).normal(size=X.shape).astype(np.float32)
PARAMETERS = {"a": np.linspace(-2, 2, 6, dtype=np.float32), "b": np.linspace(1, 3, 6, dtype=np.float32)}


def cubic(x, parameters):
    return parameters["a"] * x**3 + parameters["b"]


@pytest.mark.parametrize("shape", [(4, 5, 3, 6), (60, 6)])
def test_value_and_gradients_by_hand(shape):
    x, g = X.reshape(shape)[:60], G.reshape(shape)[:60]
    y, pull = jax.vjp(lambda x, p: channelwise(cubic, x, p), jnp.asarray(x), PARAMETERS)
    np.testing.assert_allclose(y, PARAMETERS["a"] * x**3 + PARAMETERS["b"], rtol=1e-5, atol=1e-6)
    by_x, by_parameters = pull(jnp.asarray(g))
    np.testing.assert_allclose(by_x, g * PARAMETERS["a"] * 3 * x**2, rtol=1e-5)
    assert by_parameters.keys() == {"a", "b"}
    np.testing.assert_allclose(by_parameters["a"], (g * x**3).reshape(-1, 6).sum(0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(by_parameters["b"], g.reshape(-1, 6).sum(0), rtol=1e-4, atol=1e-5)


def test_bfloat16_is_computed_in_and_its_gradients_are_summed_in_float32():
    x = jnp.ones((64, 64, 6), jnp.bfloat16)
    y, pull = jax.vjp(lambda x, p: channelwise(cubic, x, p), x, jax.tree.map(jnp.asarray, PARAMETERS))
    by_x, by_parameters = jax.jit(pull)(jnp.ones_like(x))
    chex.assert_type([y, by_x], jnp.bfloat16)
    chex.assert_type(list(by_parameters.values()), jnp.float32)
    # 4096 terms of 1: a sum in bfloat16 would stand still at 256.
    for gradient in by_parameters.values():
        np.testing.assert_array_equal(gradient, 4096)
    third = PARAMETERS["a"].astype(jnp.bfloat16)
    np.testing.assert_array_equal(by_x[0, 0], 3 * third)
