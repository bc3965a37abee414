"""Trains three steps on some of this process's devices and writes the results.

    python three_steps.py SETTING FOLDER DEVICES...

It is a process of its own because the number of fake devices is fixed when JAX starts.
"""

import sys
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from noise import noise

from bnnjax.config.constraints import GradPenaltyConfig, L1InfConfig, LCRConfig, SpectralConfig
from bnnjax.config.training import Config
from bnnjax.data import Augmentation
from bnnjax.runs.initial import full_precision
from bnnjax.runs.resolve import resolve
from bnnjax.runs.setup import make_network, make_setup
from bnnjax.runtime.cache import use_compilation_cache
from bnnjax.train.parallel import compile_task, make_mesh, replicate
from bnnjax.train.step import Images
from bnnjax.types import AXIS

BATCH, EXAMPLES = 16, 32
SETTINGS: dict[str, dict[str, Any]] = {
    "folded": {"constraint": "l1inf", "l1inf": L1InfConfig(strength=0.1)},
    "gain": {"constraint": "l1inf", "l1inf": L1InfConfig(strength=0.1, target="gain")},
    "hard": {"constraint": "l1inf", "l1inf": L1InfConfig(form="hard", radius=2.0)},
    "carried": {  # carries vectors from step to step, draws random directions, differentiates twice
        "constraint": "spectral,gradpenalty",
        "spectral": SpectralConfig(strength=0.01),
        "gradpenalty": GradPenaltyConfig(strength=0.02),
    },
    "parts": {"constraint": "l1inf", "l1inf": L1InfConfig(strength=0.1, target="gain"), "accumulate": 2},
    "lqnet": {"method": "lqnet"},  # remembers statistics of activations
    "rad": {"method": "rad"},  # adds a loss on such statistics
    "streamed": {"constraint": "l1inf", "l1inf": L1InfConfig(strength=0.1)},  # batches come from the host
    # Taught by networks with random weights.
    "teacher": {"method": "irnet"},
    # Much stronger, and the third step amplifies the last digits.
    "lcr": {"constraint": "lcr", "lcr": LCRConfig(strength=1e3, gains=True)},
}


def shaken(rng: np.random.Generator, array: jax.Array) -> jax.Array:
    return jax.device_put(array + 0.01 * rng.normal(size=array.shape).astype(np.float32), array.sharding)


def train(devices: int, setting: str, file: str) -> None:
    rng = np.random.default_rng(0)
    dataset = noise(EXAMPLES, Augmentation(crop_padding=2, flip=True))
    config = resolve(
        Config(model="resnet_tiny", epochs=2, batch_size=BATCH, weight_decay=0.01, **SETTINGS[setting])
    )
    mesh = make_mesh(BATCH, jax.devices()[:devices], config.accumulate)
    role = {"teacher": "targets", "lcr": "lcr"}.get(setting)
    teachers = {} if role is None else {role: make_network(full_precision(config), dataset)}
    compiled = compile_task(make_setup(config, dataset, teachers).task, mesh, BATCH, EXAMPLES)
    state = compiled.init(jax.random.key(1)).train
    # Batch norms begin with means of exactly 0, where rad's loss has a kink.
    state = state._replace(params=jax.tree.map(partial(shaken, rng), state.params))
    taught_by = {name: jax.jit(one.init)(jax.random.key(3)) for name, one in teachers.items()}
    images, labels = jnp.asarray(dataset.train.images), jnp.asarray(dataset.train.labels)
    data = replicate(mesh, Images(images, labels, taught_by))
    key = replicate(mesh, jax.random.key(2))
    out: dict[str, np.ndarray] = {}
    for step in range(3):  # the third is in the second epoch: the surrogate gradient has become another
        order = compiled.order(key, step // 2)
        if setting == "streamed":
            rows = np.asarray(order)[step % 2]
            batch = [jax.device_put(part[rows], NamedSharding(mesh, P(AXIS))) for part in dataset.train]
            state = compiled.train_on(state, *batch, data.teacher, key)
        else:
            state = compiled.train(state, data, order, key)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state):
            out[f"{step + 1}{jax.tree_util.keystr(path)}"] = np.asarray(leaf)
            copies = [np.asarray(shard.data) for shard in leaf.addressable_shards]
            assert len(copies) == devices
            assert all(np.array_equal(copy, copies[0]) for copy in copies)
    out["logits"] = compiled.predict(state.params, state.batch_stats, dataset.test.images[:37])
    np.savez(file, **out)


if __name__ == "__main__":
    use_compilation_cache()
    setting, folder, *counts = sys.argv[1:]
    for devices in counts:
        train(int(devices), setting, f"{folder}/{devices}.npz")
