"""Batch normalization: NumPy's numbers, running statistics, several devices, constant channels."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.nn.batch_norm import BatchNorm
from bnnjax.ops.sign import hardtanh

EPSILON = 1e-5
X = np.random.default_rng(0).normal(2, 3, (4, 5, 3, 6)).astype(np.float32)
G = np.random.default_rng(1).normal(size=X.shape).astype(np.float32)
PARAMS = {"gain": jnp.array([1.0, -2, 0.5, 0, 3, 1]), "bias": jnp.array([0.0, 1, -1, 2, 0.5, 0])}
RUNNING = {"mean": jnp.linspace(-1, 1, 6), "variance": jnp.linspace(0.5, 3, 6)}
VARIABLES = {"params": PARAMS, "batch_stats": RUNNING}


def apply(x, train, variables=VARIABLES, **options):
    """Returns y, the returned statistics and the new running statistics."""
    (y, stats), new = BatchNorm(**options).apply(variables, x, train, mutable=["batch_stats"])
    return y, stats, new["batch_stats"]


def test_parameters_and_statistics_start_as_the_identity():
    variables = BatchNorm().init(jax.random.key(0), jnp.asarray(X), True)
    expected = {"params": {"gain": 1, "bias": 0}, "batch_stats": {"mean": 0, "variance": 1}}
    chex.assert_trees_all_equal(variables, jax.tree.map(lambda v: jnp.full(6, v, jnp.float32), expected))


def test_training_normalizes_with_the_batch_and_evaluation_with_the_running_statistics():
    flat = X.reshape(-1, 6).astype(np.float64)
    y, stats, new = jax.jit(lambda x: apply(x, True))(X)
    normal = (flat - flat.mean(0)) / np.sqrt(flat.var(0) + EPSILON)
    np.testing.assert_allclose(y.reshape(-1, 6), PARAMS["gain"] * normal + PARAMS["bias"], atol=2e-5)
    np.testing.assert_allclose(stats.batch_variance, flat.var(0) + EPSILON, rtol=1e-5)
    np.testing.assert_allclose(new["mean"], 0.9 * RUNNING["mean"] + 0.1 * flat.mean(0), rtol=1e-5)
    np.testing.assert_allclose(new["variance"], 0.9 * RUNNING["variance"] + 0.1 * flat.var(0), rtol=1e-5)
    np.testing.assert_array_equal(stats.gain, PARAMS["gain"])

    y, stats, new = apply(X, False)
    normal = (flat - RUNNING["mean"]) / np.sqrt(np.asarray(RUNNING["variance"]) + EPSILON)
    np.testing.assert_allclose(y.reshape(-1, 6), PARAMS["gain"] * normal + PARAMS["bias"], atol=2e-5)
    np.testing.assert_allclose(stats.variance, RUNNING["variance"] + EPSILON, rtol=1e-6)
    np.testing.assert_array_equal(stats.batch_variance, stats.variance)
    chex.assert_trees_all_equal(new, RUNNING)


def test_running_variance_that_is_shown_in_training_is_the_updated_one():
    _, stats, new = apply(X, True)
    np.testing.assert_allclose(stats.variance, new["variance"] + EPSILON, rtol=1e-6)


def loss(x, params):
    y, stats, _ = apply(x, True, {"params": params, "batch_stats": RUNNING})
    return jnp.sum(y * G) + jnp.sum(stats.batch_variance * jnp.arange(1.0, 7))


def test_gradients_equal_those_by_hand():
    by_x, by_params = jax.jit(jax.grad(loss, (0, 1)))(jnp.asarray(X), PARAMS)
    x, g = X.reshape(-1, 6).astype(np.float64), G.reshape(-1, 6)
    inverse = 1 / np.sqrt(x.var(0) + EPSILON)
    normal = (x - x.mean(0)) * inverse
    np.testing.assert_allclose(by_params["bias"], g.sum(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(by_params["gain"], (g * normal).sum(0), rtol=1e-4, atol=1e-4)
    through_y = np.asarray(PARAMS["gain"]) * inverse * (g - g.mean(0) - normal * (g * normal).mean(0))
    through_variance = np.arange(1, 7) * 2 * (x - x.mean(0)) / len(x)
    np.testing.assert_allclose(by_x.reshape(-1, 6), through_y + through_variance, rtol=1e-3, atol=2e-5)


def test_two_devices_equal_one():
    def shares(x):
        return jax.vmap(lambda x: apply(x, True, axis_name="data"), axis_name="data")(x)

    halves = jnp.asarray(X).reshape(2, 2, *X.shape[1:])
    y, stats, new = jax.jit(shares)(halves)
    one_y, one_stats, one_new = apply(X, True)
    np.testing.assert_allclose(y.reshape(X.shape), one_y, atol=1e-5)
    for both, one in zip(jax.tree.leaves((stats, new)), jax.tree.leaves((one_stats, one_new)), strict=True):
        np.testing.assert_allclose(both, np.stack([one, one]), rtol=1e-5)
    weights = jnp.asarray(G).reshape(halves.shape)

    def gradient(x, weights):
        # As the step takes it, inside the axis; the loss is the sum over devices.
        return jax.grad(lambda x: jnp.sum(apply(x, True, axis_name="data")[0] * weights))(x)

    by_x = jax.jit(jax.vmap(gradient, axis_name="data"))(halves, weights)
    one_by_x = jax.grad(lambda x: jnp.sum(apply(x, True)[0] * G))(jnp.asarray(X))
    np.testing.assert_allclose(by_x.reshape(X.shape), one_by_x, atol=1e-5)


@pytest.mark.parametrize("activation", [hardtanh, jax.nn.relu], ids=["hardtanh", "relu"])
@pytest.mark.parametrize("train", [True, False], ids=["training", "evaluation"])
def test_shortcut_and_activation_are_those_behind_the_plain_batch_norm(activation, train):
    def fused(x, shortcut, params):
        variables = {"params": params, "batch_stats": RUNNING}
        (y, _), _ = BatchNorm().apply(variables, x, train, shortcut, activation, mutable=["batch_stats"])
        return y

    def plain(x, shortcut, params):
        axes = (0, 1, 2)
        mean = jnp.mean(x, axes) if train else RUNNING["mean"]
        variance = jnp.var(x, axes) if train else RUNNING["variance"]
        normal = (x - mean) / jnp.sqrt(variance + EPSILON)
        return activation(params["gain"] * normal + params["bias"] + shortcut)

    arguments = (jnp.asarray(X), jnp.asarray(G[::-1].copy()), PARAMS)
    results = []
    for function in (fused, plain):
        y, pull = jax.jit(lambda *a, f=function: jax.vjp(f, *a))(*arguments)
        results.append((y, jax.jit(pull)(jnp.asarray(G))))
    # Sums of 60 products; no value lies within rounding of a kink.
    chex.assert_trees_all_close(*results, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("constant", [0.0, 0.1, -30.0])
def test_channel_of_zero_variance_gives_the_bias_with_finite_gradients(constant):
    x = jnp.asarray(X).at[..., 1].set(constant)
    y, stats, _ = jax.jit(lambda x: apply(x, True))(x)
    np.testing.assert_array_equal(y[..., 1], PARAMS["bias"][1])
    assert stats.batch_variance[1] == np.float32(EPSILON)
    chex.assert_tree_all_finite(jax.jit(jax.grad(loss, (0, 1)))(x, PARAMS))


@pytest.mark.parametrize("devices", [1, 2])
def test_a_mean_of_many_deviations_leaves_the_variance_right(devices):
    mean, deviation = np.array([1000, -1000, 0.1, 30, 0, 5]), np.array([0.1, 0.03, 1e-4, 10, 1, 0.0])
    x = (mean + deviation * np.random.default_rng(2).normal(size=(devices, 8, 9, 7, 6))).astype(np.float32)
    shares = jax.vmap(lambda x: apply(x, True, axis_name="data"), axis_name="data")
    y, stats, new = jax.jit(shares)(x)
    exact = x.reshape(-1, 6).astype(np.float64)
    variance = exact.var(0)
    np.testing.assert_allclose(stats.batch_variance, np.stack([variance + EPSILON] * devices), rtol=1e-4)
    expected_mean = 0.9 * RUNNING["mean"] + 0.1 * exact.mean(0)
    np.testing.assert_allclose(new["mean"], np.stack([expected_mean] * devices), rtol=1e-6)
    normal = (exact - exact.mean(0)) / np.sqrt(variance + EPSILON)
    expected = PARAMS["gain"] * normal + PARAMS["bias"]
    # The product and the offset each have a rounding of the mean in units of the deviation.
    np.testing.assert_allclose(y.reshape(-1, 6), expected, atol=1e-2)
    np.testing.assert_array_equal(y[..., 5], PARAMS["bias"][5])


def test_bfloat16_images_keep_their_dtype_and_have_float32_statistics():
    x = jnp.asarray(X, jnp.bfloat16)
    y, stats, new = apply(x, True)
    chex.assert_type(y, jnp.bfloat16)
    chex.assert_type(jax.tree.leaves((stats, new)), jnp.float32)
    expected, expected_stats, _ = apply(x.astype(jnp.float32), True)
    np.testing.assert_allclose(y.astype(jnp.float32), expected, rtol=2**-7, atol=2**-7)
    np.testing.assert_allclose(stats.batch_variance, expected_stats.batch_variance, rtol=1e-5)


def test_nan_stays_in_its_channel():
    y, _, _ = apply(jnp.asarray(X).at[0, 0, 0, 2].set(jnp.nan), True)
    np.testing.assert_array_equal(np.isnan(y).any((0, 1, 2)), np.arange(6) == 2)


def test_equals_the_batch_norm_of_linen():
    theirs = nn.BatchNorm(use_running_average=False, momentum=0.9, epsilon=EPSILON)
    variables = {
        "params": {"scale": PARAMS["gain"], "bias": PARAMS["bias"]},
        "batch_stats": {"mean": RUNNING["mean"], "var": RUNNING["variance"]},
    }
    expected, new = theirs.apply(variables, X, mutable=["batch_stats"])
    y, _, ours = apply(X, True)
    np.testing.assert_allclose(y, expected, atol=2e-5)
    np.testing.assert_allclose(ours["variance"], new["batch_stats"]["var"], rtol=1e-5)


FLOOR = jnp.array([0.0, 4.0, 0.5, 1e-3, 9.0, 2.0])


@pytest.mark.parametrize("train", [True, False], ids=["training", "evaluation"])
def test_a_floor_is_added_to_the_variance_and_has_a_gradient(train):
    x = jnp.asarray(X).at[..., 1].set(0.1)  # zero variance

    def ours(x, params, floor):
        variables = {"params": params, "batch_stats": RUNNING}
        (y, stats), _ = BatchNorm().apply(variables, x, train, None, hardtanh, floor, mutable=["batch_stats"])
        return y, stats.batch_variance

    def plain(x, params, floor):
        # Counted from a constant, so that the mean of channel 1 is exact.
        mean = 0.1 + jnp.mean(x - 0.1, (0, 1, 2)) if train else RUNNING["mean"]
        variance = (jnp.mean((x - mean) ** 2, (0, 1, 2)) if train else RUNNING["variance"]) + EPSILON + floor
        return hardtanh(params["gain"] * (x - mean) / jnp.sqrt(variance) + params["bias"]), variance

    results = []
    for function in (ours, plain):
        out, pull = jax.jit(lambda *a, f=function: jax.vjp(f, *a))(x, PARAMS, FLOOR)
        results.append((out, jax.jit(pull)((jnp.asarray(G), jnp.arange(1.0, 7)))))
    chex.assert_trees_all_close(*results, rtol=1e-3, atol=3e-5)
    (y, _), (_, _, by_floor) = results[0]
    if train:
        np.testing.assert_array_equal(y[..., 1], PARAMS["bias"][1])
    assert np.all(by_floor != 0)


def test_a_floor_of_zeros_is_none_and_each_device_has_its_share_of_the_gradient():
    y, stats, new = apply(X, True)
    with_zeros = BatchNorm().apply(VARIABLES, X, True, floor=jnp.zeros(6), mutable=["batch_stats"])
    chex.assert_trees_all_equal(with_zeros, ((y, stats), {"batch_stats": new}))

    def gradient(x, weights, axis_name):
        def loss(floor):
            (y, _), _ = BatchNorm(axis_name).apply(VARIABLES, x, True, floor=floor, mutable=["batch_stats"])
            return jnp.sum(y * weights)

        return jax.grad(loss)(FLOOR)

    halves = [jnp.asarray(array).reshape(2, 2, *X.shape[1:]) for array in (X, G)]
    shares = jax.vmap(lambda x, weights: gradient(x, weights, "data"), axis_name="data")(*halves)
    np.testing.assert_allclose(shares.sum(0), gradient(X, G, None), rtol=1e-4, atol=1e-5)
