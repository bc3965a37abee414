"""Training that begins from another network: what is taken of it, and what a method prepares from that."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bnnjax.config.constraints import CONSTRAINTS
from bnnjax.config.resolved import ResolvedConfig
from bnnjax.data import Dataset
from bnnjax.data.augment import normalize
from bnnjax.models.network import Network
from bnnjax.runs.saved import Trained
from bnnjax.train.parallel import once_options
from bnnjax.types import Tree

PLACE = "pretrained"  # the run directory of the full-precision twin, in that of the run that it is for
BEGINNING = "beginning.json"  # in a run directory, how the run began: `prepare_seconds`
EXAMPLES = 256  # training images that a method prepares by
SAME_KERNEL = {"latent": "kernel", "kernel": "latent"}
OWN = frozenset({"learned", "memory"})  # what a method keeps beside its kernels


class Arrays(NamedTuple):
    """The arrays of a network."""

    params: Tree
    batch_stats: Tree


def full_precision(config: ResolvedConfig) -> ResolvedConfig:
    """Returns the configuration of the run that trains the full-precision network that a run needs.

    Model, structure, data, recipe and seed are the same.
    """
    return config.with_values(
        method="fp",
        wbits=32,
        abits=32,
        constraint="none",
        **{name: type(getattr(config, name))() for name in CONSTRAINTS},
        latent_clip=0.0,
        kernels="xla",
        pretrained=None,
        teacher=None,
        workdir=config.workdir / PLACE,
    )


def _take(wanted: Mapping[str, Any], source: Mapping[str, Any], left: frozenset[str], path: str) -> Tree:
    taken = {}
    for name, value in wanted.items():
        found = source.get(name, source.get(SAME_KERNEL.get(name, name)))
        if name in left or found is None:
            continue
        if isinstance(value, Mapping):
            taken[name] = _take(value, found, left, f"{path}{name}/")
        elif found.shape == value.shape:
            taken[name] = found
        else:
            raise ValueError(
                f"the pretrained network's {path}{name} has shape {found.shape}; {value.shape} is needed"
            )
    return taken


def take(config: ResolvedConfig, network: Network, source: Trained) -> Arrays:
    """Returns kernels, batch norms and classifier of a trained network under this network's names.

    A full-precision `kernel` becomes `latent` where the method quantizes it.  What a method keeps beside its
    kernels is taken from a run of the same method and bits only; what is not taken is left out.

    Args:
      config: of the run.
      network: made from it.
      source: where to take from.

    Raises:
      ValueError: if the networks are not of one model, structure and size.
    """
    for name in ("model", "structure"):
        ours, theirs = getattr(config, name), getattr(source.config, name)
        if ours != theirs:
            raise ValueError(f"the pretrained run {source.place} has {name} {theirs}; {ours} is needed")
    of_method = [(c.method, c.wbits, c.abits) for c in (config, source.config)]
    left = frozenset() if of_method[0] == of_method[1] else OWN
    params, batch_stats = jax.eval_shape(network.init, jax.random.key(0))
    return Arrays(_take(params, source.params, left, ""), _take(batch_stats, source.batch_stats, left, ""))


def prepare(network: Network, arrays: Arrays, dataset: Dataset, seed: int) -> Arrays:
    """Returns the arrays of a network with its latent kernels as the method prepares them.

    The seed picks the training images, which are not augmented; batch norms use these images' statistics.
    """
    count = len(dataset.train.labels)
    chosen = np.sort(np.random.default_rng(seed).permutation(count)[:EXAMPLES])
    images = normalize(jnp.asarray(dataset.train.images[chosen]), dataset.mean, dataset.std, jnp.float32)
    return arrays._replace(params=jax.jit(network.prepare)(*arrays, images))


def first_arrays(
    config: ResolvedConfig, network: Network, dataset: Dataset, source: Trained | None, key: Array
) -> tuple[Arrays, float | None]:
    """Returns the arrays that training begins from, on the first device, and the seconds of preparing them.

    The seconds are None where the method prepares nothing; else they hold the compilation.

    Args:
      config: of the run.
      network: made from it.
      dataset: whose training images the method prepares by.
      source: the network to begin from; None: random weights.
      key: for all that is random.

    Raises:
      ValueError: as `take`.
    """
    once = once_options()
    if source is None:
        arrays = Arrays(*jax.jit(network.init, compiler_options=once)(key))
    else:
        fill = jax.jit(network.complete, compiler_options=once)
        arrays = Arrays(*fill(key, *take(config, network, source)))
    if network.method.prepare is None:
        return arrays, None
    began = time.perf_counter()
    arrays = jax.block_until_ready(prepare(network, arrays, dataset, config.seed))
    return arrays, time.perf_counter() - began


def path_within(workdir: Path, place: Path) -> str:
    """Returns a path as text, relative to workdir if it lies inside."""
    inner, outer = place.absolute(), workdir.absolute()
    return str(inner.relative_to(outer) if inner.is_relative_to(outer) else place)
