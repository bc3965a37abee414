"""Comparison of trained networks' bounds: from above by two norms, from below by search.

Beside them are the estimates that LCR uses as Lipschitz constants, which bound nothing.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from rich.console import Console

from bnnjax.bounds.chain import Chain, Slope, unit_names
from bnnjax.bounds.lipschitz import block_table, log_bound, slopes
from bnnjax.bounds.lower import NOTHING, LogitsOf, empirical_log_bound
from bnnjax.data import Dataset
from bnnjax.data.augment import normalize
from bnnjax.data.load import load
from bnnjax.models.figures import tabulate_units
from bnnjax.nn.layers import ACTIVATIONS
from bnnjax.ops.retention import largest_singular_value, retention_matrix
from bnnjax.report.studies.bounds import bound_comparison, bound_tables, bounds_side_by_side
from bnnjax.report.style.theme import png_bytes
from bnnjax.runs.saved import Trained, read_config, read_trained
from bnnjax.runtime.cache import use_compilation_cache
from bnnjax.runtime.console import say, show
from bnnjax.runtime.files import write_bytes_atomically, write_json
from bnnjax.runtime.lock import check_writable


def surrogate(trained: Trained) -> LogitsOf:
    """Returns a trained network's surrogate at inference: (arrays, normalized images) -> logits."""
    network = trained.network.with_method(trained.network.method.relaxed())
    return lambda arrays, images: network.logits(arrays[0], arrays[1], images)


def retention_estimates(
    chain: Chain, activations: Mapping[str, tuple[Array, Array]], iterations: int = 20
) -> dict[str, dict[str, float]]:
    """Returns sigma(RM) between each quantized layer and the next, by the unit of the first of the two.

    RM = X Y^T / (H W), sigma is its largest singular value, averaged over images; X and Y are the layers'
    `inputs` before quantization, or the `codes` after it.  If the pixels of X were uncorrelated with variance
    1, it would be the spectral norm of the map from X to Y.

    Args:
      chain: the network.
      activations: inputs and codes, [batch, h, w, c], by unit.
      iterations: of power iteration.
    """
    layers = [(name, activations[name]) for name in unit_names(chain) if name in activations]

    def sigma(x: Array, y: Array) -> float:
        return float(jnp.mean(largest_singular_value(retention_matrix(x, y), iterations)))

    return {
        name: {"inputs": sigma(own[0], following[0]), "codes": sigma(own[1], following[1])}
        for (name, own), (_, following) in pairwise(layers)
    }


def study_run(trained: Trained, dataset: Dataset, images: int, steps: int) -> dict[str, Any]:
    """Returns the bounds of a trained network.

    Args:
      trained: the network.
      dataset: the search starts from its first test images.
      images: how many.
      steps: of the search.

    Returns:
      A record with `run`, `constraint`, `units` (see `unit_table`), `blocks` (see `block_table`), `retention`
      (see `retention_estimates`; empty for a network that quantizes no activations), and in nats
      `log_bound`, `log_spectral_bound` (of sqrt(fan_in) * spectral norm in the place of each unit's norm) and
      `log_empirical` by the size of the noise, and `log_retention`, the sum of the logarithms of the
      estimates between inputs, which is no bound.
    """
    network, arrays = trained.network, (trained.params, trained.batch_stats)
    units = tabulate_units(network, *arrays)
    activations = slopes(jax.jit(network.units)(*arrays))

    def factors(norm: str) -> dict[str | Slope, Array]:
        return activations | {str(unit["unit"]): jnp.float32(unit[norm]) for unit in units}

    batch = normalize(jnp.asarray(dataset.test.images[:images]), dataset.mean, dataset.std, jnp.float32)
    collected = jax.jit(partial(network.infer, more=(ACTIVATIONS,)))(*arrays, batch)[1]
    retention = retention_estimates(network.chain, collected.more[ACTIVATIONS])
    logs = [math.log(max(each["inputs"], NOTHING)) for each in retention.values()]
    return {
        "run": str(trained.place),
        "constraint": trained.config.constraint,
        "units": units,
        "blocks": block_table(network.chain, factors("l1inf")),
        "log_bound": float(log_bound(network.chain, factors("l1inf"))),
        "log_spectral_bound": float(log_bound(network.chain, factors("spectral_bound"))),
        "median_tightness": float(np.median([unit["tightness"] for unit in units])),
        "retention": retention,
        "log_retention": sum(logs) if logs else None,
        "log_empirical": empirical_log_bound(surrogate(trained), arrays, batch, steps),
    }


def prepare_study(
    runs: Sequence[Path], place: Path, data_dir: Path | None, images: int, steps: int
) -> Callable[[Console], int]:
    """Reads the runs and returns the work: bounds.json and bounds.png in `place`, and tables on the console.

    Raises:
      ValueError: with one sentence, if a run cannot be read, its data set is missing, or `place` cannot be
        written.
    """
    use_compilation_cache()
    check_writable(place)
    networks: list[tuple[Trained, Dataset]] = []
    for run in runs:
        config = read_config(run)
        dataset = load(config if data_dir is None else config.with_values(data_dir=data_dir))
        networks.append((read_trained(run, dataset), dataset))

    def study(console: Console) -> int:
        records = []
        for trained, dataset in networks:
            records.append(study_run(trained, dataset, images, steps))
            for table in bound_tables(records[-1]):
                show(console, table)
        if len(records) > 1:
            show(console, bound_comparison(records))
        write_json(place / "bounds.json", records)
        figure = bounds_side_by_side(records)
        write_bytes_atomically(place / "bounds.png", png_bytes(figure))
        say(console, f"wrote {place / 'bounds.png'} and bounds.json")
        return 0

    return study
