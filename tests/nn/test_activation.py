"""A learned activation: its parameters, its dtype, its slope, and its place in a unit."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.bounds.chain import Slope
from bnnjax.methods import Context, make_method
from bnnjax.methods.fp import fp
from bnnjax.methods.reactnet import RPRELU
from bnnjax.nn.activation import Activation, slope_behind
from bnnjax.nn.units import UNITS, Unit
from bnnjax.ops.sign import hardtanh
from bnnjax.train.optimizer import decay_mask

X = np.random.default_rng(0).normal(size=(8, 5, 5, 3)).astype(np.float32)
LEARNED = {
    "before": jnp.array([0.5, -0.25, 0.0]),
    "slope": jnp.array([-2.0, 0.5, 1.5]),
    "after": jnp.array([0.0, 1.0, -1.0]),
}


def rprelu(x):
    u = x + np.asarray(LEARNED["before"])
    return np.where(u > 0, u, np.asarray(LEARNED["slope"]) * u) + np.asarray(LEARNED["after"])


def test_parameters_begin_as_the_kind_says_and_have_no_weight_decay():
    params = Activation(RPRELU).init(jax.random.key(0), X)["params"]
    expected = {"learned": {"before": 0.0, "slope": 0.25, "after": 0.0}}
    chex.assert_trees_all_equal(params, jax.tree.map(lambda value: jnp.full(3, value, jnp.float32), expected))
    assert not any(jax.tree.leaves(decay_mask(params)))


def test_dtype_is_that_of_the_input_and_slopes_are_float32():
    variables = {"params": {"learned": LEARNED}}
    y, slope = Activation(RPRELU).apply(variables, X)
    np.testing.assert_allclose(y, rprelu(X), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(slope, [2, 1, 1.5])
    y, slope = Activation(RPRELU).apply(variables, jnp.asarray(X, jnp.bfloat16))
    chex.assert_type([y, slope], [jnp.bfloat16, jnp.float32])
    np.testing.assert_allclose(y, rprelu(X), atol=0.05)


@pytest.mark.parametrize("train", [True, False])
def test_a_unit_has_it_behind_the_sum_of_batch_norm_and_shortcut(train):
    unit, plain = Unit(3, fp(), activation=RPRELU), Unit(3, fp())
    shortcut = jnp.asarray(np.random.default_rng(1).normal(size=X.shape), jnp.float32)
    variables = unit.init(jax.random.key(0), X, Context(), False)
    variables = {key: variables[key] for key in ("params", "batch_stats")}
    variables["params"]["activation"]["learned"] = LEARNED
    own = {"params": {k: v for k, v in variables["params"].items() if k != "activation"}}
    own["batch_stats"] = variables["batch_stats"]
    before, _ = plain.apply(own, X, Context(), train, shortcut, mutable=["batch_stats"])
    y, filled = unit.apply(variables, X, Context(), train, shortcut, mutable=["batch_stats", UNITS])
    np.testing.assert_allclose(y, rprelu(np.asarray(before)), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(filled[UNITS]["record"].slope, [2, 1, 1.5])


def test_only_learned_activations_have_a_place_in_the_bound():
    assert (
        slope_behind("u", RPRELU) == slope_behind("u", make_method("reactnet").nonlinearity) == (Slope("u"),)
    )
    assert slope_behind("u", hardtanh) == ()
