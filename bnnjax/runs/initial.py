"""Training that begins from another network: its parameters, and what a method prepares from them."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bnnjax.config.constraints import CONSTRAINTS
from bnnjax.config.training import Config
from bnnjax.data import Dataset
from bnnjax.data.augment import normalize
from bnnjax.runs.saved import Trained
from bnnjax.runs.setup import Setup
from bnnjax.train.parallel import once_options
from bnnjax.types import Tree

PLACE = "pretrained"  # of the full-precision network's run, in the run directory that it is for
BEGINNING = "beginning.json"  # there, what a run tells of its beginning: `prepare_seconds`
EXAMPLES = 256  # training images that a method prepares by
SAME_KERNEL = {"latent": "kernel", "kernel": "latent"}
OWN = frozenset({"learned", "memory"})  # what a method keeps beside its kernels


class Network(NamedTuple):
    """The arrays of a network."""

    params: Tree
    batch_stats: Tree


def full_precision(config: Config) -> Config:
    """Returns the configuration of the run that gives a resolved one the full-precision network it needs.

    Model, structure, data, recipe and seed are the same.
    """
    assert config.workdir is not None
    return config.with_values(
        method="fp",
        wbits=32,
        abits=32,
        constraint="none",
        **{name: type(getattr(config, name))() for name in CONSTRAINTS},
        latent_clip=0.0,
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


def take(config: Config, setup: Setup, source: Trained) -> Network:
    """Returns kernels, batch norms and classifier of a trained network under this network's names.

    A full-precision `kernel` becomes `latent` where the method quantizes it.  What a method keeps beside its
    kernels is taken from a run of the same method and bits only; what is not taken is left out.

    Args:
      config: resolved.
      setup: made from it.
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
    params, batch_stats = jax.eval_shape(setup.network.init, jax.random.key(0))
    return Network(_take(params, source.params, left, ""), _take(batch_stats, source.batch_stats, left, ""))


def prepare(setup: Setup, network: Network, dataset: Dataset, seed: int) -> Network:
    """Returns the network with its latent kernels as the method prepares them.

    The seed picks the training images, which are not augmented; batch norms use these images' statistics.
    """
    count = len(dataset.train.labels)
    chosen = np.sort(np.random.default_rng(seed).permutation(count)[:EXAMPLES])
    images = normalize(jnp.asarray(dataset.train.images[chosen]), dataset.mean, dataset.std, jnp.float32)
    schedule = setup.method.schedule(jnp.float32(0))
    params = jax.jit(setup.network.prepare)(network.params, network.batch_stats, images, schedule)
    return network._replace(params=params)


def first_network(
    config: Config, setup: Setup, dataset: Dataset, source: Trained | None, key: Array
) -> tuple[Network, float | None]:
    """Returns the network that training begins from, on the first device, and the seconds it was prepared in.

    They are None where the method prepares nothing; else they hold the compilation.

    Args:
      config: resolved.
      setup: made from it.
      dataset: whose training images the method prepares by.
      source: the network to begin from; None: random weights.
      key: for all that is random.

    Raises:
      ValueError: as `take`.
    """
    once = once_options()
    if source is None:
        network = Network(*jax.jit(setup.network.init, compiler_options=once)(key))
    else:
        fill = jax.jit(setup.network.complete, compiler_options=once)
        network = Network(*fill(key, *take(config, setup, source)))
    if setup.method.prepare is None:
        return network, None
    began = time.perf_counter()
    network = jax.block_until_ready(prepare(setup, network, dataset, config.seed))
    return network, time.perf_counter() - began


def path_within(workdir: Path, place: Path) -> str:
    """Returns a path as text, relative to workdir if it lies inside."""
    inner, outer = place.absolute(), workdir.absolute()
    return str(inner.relative_to(outer) if inner.is_relative_to(outer) else place)
