"""A network's chain, from which bounds are computed, matches its forward pass."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from bnnjax.bounds.chain import CLASSIFIER
from bnnjax.bounds.lipschitz import network_log_bound
from bnnjax.methods import make_method
from bnnjax.models import RESNETS, VGGS, Model, make_model
from bnnjax.models.network import Network
from bnnjax.models.resnet import ResNet
from bnnjax.nn.blocks import Structure

FP = make_method("fp")
VALUE = 1e-6  # of all pixels: so small that no nonlinearity clips what comes of it
QUICK = {("resnet_tiny", "plain"), ("resnet_tiny", "bireal"), ("resnet20", "bireal"), ("vgg_tiny", None)}
CASES = [
    pytest.param(name, structure, marks=() if (name, structure) in QUICK else pytest.mark.slow)
    for name, structure in (
        *((name, structure) for name in RESNETS for structure in ("plain", "bireal")),
        *((name, None) for name in VGGS),
    )
]


def one_path(shapes: Any, rng: np.random.Generator) -> Any:
    """Returns parameters of a network in which each unit multiplies one channel by a number of its own.

    It writes the product to all channels; the next reads the one in which no shortcut has padded zeros.
    """
    leaves = flatten_dict(shapes)
    params = {
        path: np.full(leaf.shape, float(path[-1] == "gain"), np.float32) for path, leaf in leaves.items()
    }

    def reads(channel: int, *path: str) -> int:
        kernel = params[path]
        kernel[(*(size // 2 for size in kernel.shape[:-2]), channel)] = rng.uniform(0.2, 0.6)
        return kernel.shape[-1]

    here, width = 0, reads(0, "stem", "conv", "kernel")
    for part in sorted({path[0] for path in leaves} - {"stem", CLASSIFIER}):
        if (part, "conv", "kernel") in leaves:  # a unit of a VGG
            reads(0, part, "conv", "kernel")
            continue
        before, width = width, reads(here, part, "conv1", "conv", "kernel")
        if (part, "shortcut", "conv", "kernel") in leaves:
            reads(here, part, "shortcut", "conv", "kernel")
            here = 0
        else:
            here += (width - before) // 2
        reads(here, part, "conv2", "conv", "kernel")
    reads(here, CLASSIFIER, "dense", "kernel")
    return unflatten_dict(params)


@pytest.mark.parametrize(("name", "structure"), CASES)
def test_a_positive_network_of_one_path_attains_its_bound(name: str, structure: str | None) -> None:
    size = 64 if name.endswith("imagenet") else 32
    attains_its_bound(make_model(name, FP, structure=structure, classes=3), size)


@pytest.mark.parametrize("structure", ["plain", "bireal"])
def test_averages_of_pixels_leave_the_bound_as_it_is(structure: Structure) -> None:
    # Odd sizes, so that borders are repeated.
    smoothed = ResNet(FP, structure, (4, 8), (1, 1), False, 3, downsample="average", stem_blur=True)
    attains_its_bound(smoothed, 7)


def attains_its_bound(model: Model, size: int) -> None:
    network = Network(model, FP, (size, size, 3))
    shapes, stats = jax.eval_shape(network.init, jax.random.key(0))
    batch_stats = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.full(leaf.shape, float(path[-1].key == "variance")), stats
    )
    params = one_path(shapes, np.random.default_rng(0))
    images = jnp.full((1, size, size, 3), VALUE)
    logits, collected = jax.jit(network.infer)(params, batch_stats, images)
    bound = float(jnp.exp(network_log_bound(network.chain, collected.units)))
    np.testing.assert_allclose(logits, VALUE * bound, rtol=1e-4)
