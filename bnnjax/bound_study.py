"""The bounds of trained networks, side by side: from above by two norms, from below by search."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from rich.console import Console

from bnnjax import report
from bnnjax.bounds import Slope, block_table, log_bound, slopes
from bnnjax.cache import use_compilation_cache
from bnnjax.data import Dataset
from bnnjax.data.augment import normalize
from bnnjax.empirical import empirical_log_bound
from bnnjax.models import make_model
from bnnjax.network import final_schedule, make_network, tabulate_units
from bnnjax.run import load
from bnnjax.trained import Trained, read_config, read_trained


def surrogate(trained: Trained, dataset: Dataset) -> Callable[[Array], Array]:
    """Returns the surrogate network of a trained one: normalized images -> logits, at inference."""
    config, method = trained.config, trained.setup.method
    model = make_model(
        config.model, method.relaxed(), structure=config.structure, classes=len(dataset.class_names)
    )
    network = make_network(model, method.relaxed(), dataset.train.images.shape[1:])

    def logits_of(images: Array) -> Array:
        arrays = (trained.params, trained.batch_stats)
        return network.forward(*arrays, images, final_schedule(method), False, ())[0]

    return logits_of


def study_run(trained: Trained, dataset: Dataset, images: int, steps: int) -> dict[str, Any]:
    """Returns the bounds of a trained network.

    Args:
      trained: the network.
      dataset: the search begins from its first test images.
      images: how many.
      steps: of the search.

    Returns:
      A record with `run`, `constraint`, `units` (see `unit_table`), `blocks` (see `block_table`), and in nats
      `log_bound`, `log_spectral_bound` (of sqrt(fan_in) * spectral norm in the place of each unit's norm) and
      `log_empirical` by the size of the noise.
    """
    network, method = trained.setup.network, trained.setup.method
    arrays = (trained.params, trained.batch_stats)
    units = tabulate_units(network, method, *arrays)
    activations = slopes(jax.jit(network.units)(*arrays, final_schedule(method)))

    def factors(norm: str) -> dict[str | Slope, Array]:
        return activations | {str(unit["unit"]): jnp.float32(unit[norm]) for unit in units}

    batch = normalize(jnp.asarray(dataset.test.images[:images]), dataset.mean, dataset.std, jnp.float32)
    return {
        "run": str(trained.place),
        "constraint": trained.config.constraint,
        "units": units,
        "blocks": block_table(network.chain, factors("l1inf")),
        "log_bound": float(log_bound(network.chain, factors("l1inf"))),
        "log_spectral_bound": float(log_bound(network.chain, factors("spectral_bound"))),
        "median_tightness": float(np.median([unit["tightness"] for unit in units])),
        "log_empirical": empirical_log_bound(surrogate(trained, dataset), batch, steps),
    }


def prepare_study(
    runs: Sequence[Path], place: Path, data_dir: Path | None, images: int, steps: int
) -> Callable[[Console], int]:
    """Reads the runs and returns the work: bounds.json and bounds.png in `place`, and tables on the console.

    Raises:
      ValueError: with one sentence, if a run cannot be read or its data set is not there.
    """
    use_compilation_cache()
    networks: list[tuple[Trained, Dataset]] = []
    for run in runs:
        config = read_config(run)
        dataset = load(config if data_dir is None else config.with_values(data_dir=data_dir))
        networks.append((read_trained(run, dataset), dataset))

    def study(console: Console) -> int:
        records = []
        for trained, dataset in networks:
            records.append(study_run(trained, dataset, images, steps))
            for table in report.bound_tables(records[-1]):
                console.print(table)
        if len(records) > 1:
            console.print(report.bound_comparison(records))
        report.write_json(place / "bounds.json", records)
        figure = report.bounds_side_by_side(records)
        report.write_bytes_atomically(place / "bounds.png", report.png_bytes(figure))
        console.print(f"wrote {place / 'bounds.png'} and bounds.json", markup=False, highlight=False)
        return 0

    return study
