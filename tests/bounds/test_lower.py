"""The largest movement found is exact where it is known, and never above the bound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.bounds.lipschitz import network_log_bound
from bnnjax.bounds.lower import SIZES, empirical_log_bound, largest_movement
from bnnjax.methods import make_method
from bnnjax.models import make_model
from bnnjax.models.network import Network

MATRIX = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)


def linear(matrix, images):
    return images.reshape(len(images), -1) @ matrix


def clipped(matrix, images):
    return jnp.clip(linear(matrix, images), -1, 1)


def bent(_, images):
    x = images.reshape(len(images), -1)
    return 0.1 * x[:, :1] + x[:, 1:2] - 0.5 * x[:, :1] * x[:, 1:2]


@pytest.mark.parametrize("size", [1e-3, 0.5, 100.0])
@pytest.mark.parametrize("steps", [0, 3])
def test_a_linear_function_is_moved_by_its_largest_row_sum(size, steps):
    images = np.random.default_rng(1).normal(size=(4, 2, 2, 3)).astype(np.float32)
    found = largest_movement(linear, MATRIX, images, jnp.float32(size), steps)
    np.testing.assert_allclose(found, np.full(4, np.abs(MATRIX).sum(0).max()), rtol=1e-3)


def test_a_clip_lets_large_noise_move_it_less_for_its_size():
    images = np.zeros((1, 2, 2, 3), np.float32)
    largest = np.abs(MATRIX).sum(0).max()
    for size in (0.01, 10.0):
        found = largest_movement(clipped, MATRIX, images, jnp.float32(size), 2)
        np.testing.assert_allclose(found, [min(largest, 1 / size)], rtol=1e-4)


def test_images_with_what_is_no_number_are_refused():
    images = np.zeros((2, 2, 2, 3), np.float32)
    images[1, 0, 1, 2] = np.inf
    with pytest.raises(ValueError, match=r"images must be finite; images\[1, 0, 1, 2\] is inf"):
        empirical_log_bound(linear, MATRIX, images)


@pytest.mark.parametrize(("steps", "movement"), [(0, 0.6), (1, 1.4), (5, 1.4)])
def test_the_ascent_leaves_the_first_direction_where_another_leads_farther(steps, movement):
    # The slope at 0 is (0.1, 1), but at (1, 1) it is (0.1 - 0.5, 1 - 0.5): from 0.6 to -0.1 + 1 + 0.5.
    found = largest_movement(bent, (), np.zeros((1, 1, 1, 3), np.float32), jnp.float32(1), steps)
    np.testing.assert_allclose(found, [movement], rtol=1e-5)


def test_a_constant_is_not_moved():
    found = empirical_log_bound(
        lambda _, images: jnp.zeros((len(images), 2)), (), np.zeros((2, 1, 1, 3)), steps=1
    )
    assert set(found) == {f"{size:g}" for size in SIZES}
    assert all(value < -60 for value in found.values())


@pytest.mark.parametrize(
    ("name", "structure", "method"),
    [
        ("resnet_tiny", "plain", "irnet"),
        pytest.param("resnet_tiny", "bireal", "reactnet", marks=pytest.mark.slow),
        pytest.param("resnet20", "bireal", "birealnet", marks=pytest.mark.slow),
        pytest.param("vgg_tiny", None, "xnor", marks=pytest.mark.slow),
        pytest.param(
            "resnet18_imagenet", "bireal", "irnet", marks=[pytest.mark.slow, pytest.mark.timeout(300)]
        ),  # it compiles for long
    ],
)
def test_no_network_is_moved_by_more_than_its_bound(name, structure, method):
    method = make_method(method)
    relaxed = method.relaxed()
    model = make_model(name, relaxed, structure=structure, classes=3)
    network = Network(model, relaxed, (16, 16, 3))
    params, batch_stats = jax.jit(network.init)(jax.random.key(0))
    key = jax.random.key(1)
    # Gains and slopes of both signs.
    params = jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(key, leaf.shape), params)
    units = jax.jit(network.units)(params, batch_stats)
    bound = network_log_bound(network.chain, units)
    images = jax.random.normal(key, (2, 16, 16, 3))

    def logits_of(arrays, x):
        return network.logits(*arrays, x)

    found = empirical_log_bound(logits_of, (params, batch_stats), images, steps=2)
    assert max(found.values()) <= float(bound) + 1e-3
    assert max(found.values()) > -10  # it does move
