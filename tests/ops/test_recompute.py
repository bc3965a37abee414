"""Recomputed functions: values, gradients, and that no intermediate values are kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.ops.recompute import held_back, recomputed


def layers(x, weights, key):
    for n, weight in enumerate(weights):
        x = jnp.tanh(x @ weight) * jax.random.bernoulli(jax.random.fold_in(key, n), 0.5, x.shape)
    return x, {"norm": jnp.sum(x**2)}


def example():
    keys = jax.random.split(jax.random.key(0), 4)
    weights = [jax.random.normal(key, (16, 16)) / 4 for key in keys[:3]]
    return jax.random.normal(keys[3], (32, 16)), weights, jax.random.key(7)


def loss(function):
    def of(x, weights, key):
        y, more = function(x, weights, key)
        return jnp.sum(jnp.sin(y)) + more["norm"]

    return of


@pytest.mark.parametrize("compiled", [True, False])
def test_gradients_are_those_of_the_function(compiled):
    x, weights, key = example()
    plain, ours = (jax.value_and_grad(loss(function), (0, 1)) for function in (layers, recomputed(layers)))
    if compiled:
        plain, ours = jax.jit(plain), jax.jit(ours)
    for a, b in zip(
        jax.tree.leaves(ours(x, weights, key)), jax.tree.leaves(plain(x, weights, key)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_arguments_alone_are_kept():
    x, weights, key = example()
    _, pull = jax.vjp(lambda x: recomputed(layers)(x, weights, key), x)
    kept = [leaf.shape for leaf in jax.tree.leaves(pull)]
    assert sorted(kept) == sorted([x.shape, *(weight.shape for weight in weights), key.shape])


def test_the_compiler_computes_it_twice():
    """If it kept intermediate values, gradients would use the tanh of one forward pass."""
    x, weights, key = example()

    def counted(function):
        gradient = jax.jit(jax.grad(loss(function), 1))
        return gradient.lower(x, weights, key).compile().cost_analysis()["transcendentals"]

    assert counted(recomputed(layers)) > counted(layers)


def test_it_can_be_differentiated_twice_and_mapped():
    x, weights, key = example()

    def steep(function):
        inner = jax.grad(loss(function))
        return jax.grad(lambda weights: jnp.sum(inner(x, weights, key) ** 2))(weights)

    for a, b in zip(steep(recomputed(layers)), steep(layers), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    mapped = jax.vmap(jax.grad(loss(recomputed(layers))), (0, None, None))
    rows = mapped(x[:, None], weights, key)
    np.testing.assert_allclose(rows[3], jax.grad(loss(layers))(x[3:4], weights, key), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, jnp.nan, jnp.inf, -jnp.inf, 1e-45])
def test_what_is_held_back_is_as_it_was_whatever_the_cotangent(value):
    x = jnp.array([1.0, -0.0, jnp.nan, jnp.inf, 1e-40])
    back = jax.jit(held_back)(x, jnp.full((2, 3), value))
    np.testing.assert_array_equal(np.asarray(back).view(np.uint32), np.asarray(x).view(np.uint32))
