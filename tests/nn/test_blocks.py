"""Residual blocks: shortcuts of both structures, padding of channels, and their chains."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.bounds.chain import Residual, Slope
from bnnjax.methods import Context, make_method
from bnnjax.methods.base import LearnedActivation, identity
from bnnjax.methods.fp import fp
from bnnjax.nn.blocks import Block, block_chain, pad_shortcut
from bnnjax.nn.units import Unit

X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 6, 4)), jnp.float32)


def test_padded_shortcut_takes_every_second_pixel_and_centres_the_channels():
    y = pad_shortcut(X, 9, 2)
    chex.assert_shape(y, (2, 3, 3, 9))
    np.testing.assert_array_equal(y[..., 2:6], X[:, ::2, ::2])
    np.testing.assert_array_equal(np.delete(y, np.s_[2:6], axis=-1), 0)
    np.testing.assert_array_equal(pad_shortcut(X, 4, 1), X)


def test_padded_shortcut_can_take_the_mean_of_four_pixels():
    y = pad_shortcut(X, 9, 2, "average")
    chex.assert_shape(y, (2, 3, 3, 9))
    blocks = np.asarray(X).reshape(2, 3, 2, 3, 2, 4).mean((2, 4))
    np.testing.assert_allclose(y[..., 2:6], blocks, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(np.delete(y, np.s_[2:6], axis=-1), 0)
    np.testing.assert_array_equal(pad_shortcut(X, 4, 1, "average"), X)


@pytest.mark.parametrize(
    ("features", "stride", "projection"),
    [(4, 1, True), (8, 2, False), (8, 2, True)],
    ids=["same", "pad", "project"],
)
@pytest.mark.parametrize(
    ("name", "structure"),
    # Nonlinearity hardtanh, ReLU, none and a learned one.
    [
        ("irnet", "bireal"),
        ("fp", "plain"),
        ("birealnet", "bireal"),
        ("reactnet", "plain"),
        ("reactnet", "bireal"),
    ],
)
def test_block_is_the_formula_of_its_structure(name, structure, features, stride, projection):
    method = make_method(name)
    block = Block(features, stride, method, structure, projection)
    context = Context(method.schedule(jnp.float32(0.4)))
    shapes = jax.eval_shape(lambda x: block.init(jax.random.key(0), x, context, False), X)
    rng = np.random.default_rng(1)
    # Positive, since some are variances; centred by the batch norms' means, which are as large.
    variables = {
        key: jax.tree.map(lambda s: jnp.asarray(rng.uniform(0.2, 1, s.shape), s.dtype), shapes[key])
        for key in ("params", "batch_stats")
    }
    assert ("shortcut" in variables["params"]) == (projection and stride == 2)

    def unit(name, method, x, *options):
        own = {key: variables[key][name] for key in ("params", "batch_stats")}
        return Unit(features, method, *options).apply(own, x, context, False)

    shortcut = X if stride == 1 else pad_shortcut(X, features, 2)
    if projection and stride == 2:
        shortcut = unit("shortcut", fp(), X, 1, 2)

    def act(name, x):
        kind = method.nonlinearity
        if not isinstance(kind, LearnedActivation):
            return kind(x)
        return kind.apply(x, variables["params"][name]["activation"]["learned"])

    h = unit("conv1", method, X, 3, stride)
    if structure == "plain":
        expected = act("conv2", unit("conv2", method, act("conv1", h)) + shortcut)
    else:
        h = act("conv1", h + shortcut)
        expected = act("conv2", unit("conv2", method, h) + h)
    y = jax.jit(lambda v, x: block.apply(v, x, context, False))(variables, X)
    chex.assert_shape(y, (2, 6 // stride, 6 // stride, features))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_chain_of_a_block_written_out():
    assert block_chain("b", "plain", False, identity) == (Residual((), ("b/conv1", "b/conv2")),)
    assert block_chain("b", "plain", True, identity) == (Residual(("b/shortcut",), ("b/conv1", "b/conv2")),)
    assert block_chain("b", "bireal", False, identity) == (
        Residual((), ("b/conv1",)),
        Residual((), ("b/conv2",)),
    )
    assert block_chain("b", "bireal", True, identity) == (
        Residual(("b/shortcut",), ("b/conv1",)),
        Residual((), ("b/conv2",)),
    )


def test_learned_activations_stand_in_the_branch_or_behind_the_sums():
    learned = make_method("reactnet").nonlinearity
    assert block_chain("b", "plain", True, learned) == (
        Residual(("b/shortcut",), ("b/conv1", Slope("b/conv1"), "b/conv2")),
        Slope("b/conv2"),
    )
    assert block_chain("b", "bireal", False, learned) == (
        Residual((), ("b/conv1",)),
        Slope("b/conv1"),
        Residual((), ("b/conv2",)),
        Slope("b/conv2"),
    )
