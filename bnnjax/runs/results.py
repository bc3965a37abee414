"""The end of a run: its best network is tested, once, and its results are written."""

import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import numpy as np
from rich.console import Console

from bnnjax.config.json import to_json
from bnnjax.config.resolved import ResolvedConfig
from bnnjax.constraints.objective import without_learned
from bnnjax.data import Dataset
from bnnjax.data.corruptions import CORRUPTIONS
from bnnjax.methods import Method, make_method
from bnnjax.models.figures import tabulate_units
from bnnjax.report.run.console import progress_bar
from bnnjax.report.run.html import draw_noise_plots, draw_plots, write_report
from bnnjax.report.run.pictures import Examples
from bnnjax.robustness.evaluation import quick
from bnnjax.runs import directory
from bnnjax.runs.input import SKIPPED, grey_images
from bnnjax.runs.plan import Stage
from bnnjax.runtime.files import read_metrics, write_json
from bnnjax.runtime.processes import is_first
from bnnjax.train.checkpoint import digest
from bnnjax.train.loop import StopRequest
from bnnjax.train.parallel import Compiled
from bnnjax.train.score import accuracy, score
from bnnjax.train.state import Best
from bnnjax.types import Tree

# What the summary tells of accuracy under noise, and its name in the record of it; percent.
NOISE = {
    "quick_corruption_accuracy": "mean_corruption_accuracy",
    "quick_corruption_clean_accuracy": "clean_accuracy",
    "quick_corruption_ece": "mean_ece",
    "quick_corruption_flip_rate": "mean_flip_rate",
}


SCORED = "noise"  # outcomes of a test that has not ended, in the run directory


def stored_bits(params: Tree, method: Method) -> int:
    """Returns what the parameters take when they are stored as 1-bit networks are.

    Latent kernels count `wbits` bits a weight, all else 32.  Scaling factors count nothing, learned or not:
    they fold into the batch norm behind them; nor does what else only training needs.
    """
    bits = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        group, name = path[-2].key, path[-1].key
        if group != "learned" or name not in method.only_trained:
            bits += leaf.size * (method.wbits if name == "latent" else 32)
    return bits


def confusion_of(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Returns how many images of each class were taken for each, int64 [true class, predicted class]."""
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, predictions), 1)
    return confusion


def conclude(
    stage: Stage,
    compiled: Compiled,
    best: Best,
    about: Mapping[str, Any],
    stop: StopRequest,
    console: Console,
) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """Tests the best network, once, without and with noise; writes summary, units, noise and report.html.

    All processes test; the first writes.

    Args:
      stage: whose test images are used, and whose directory is written to.
      compiled: its task.
      best: the network.
      about: what else the summary tells of the run.
      stop: ends the test under noise.
      console: for progress.

    Returns:
      The summary and the table of units; None in other processes.

    Raises:
      StoppedError: if somebody asks to stop during the test under noise; what was scored is kept.
    """
    place, config, setup, dataset = stage.place, stage.config, stage.setup, stage.dataset
    began = time.perf_counter()
    scores = score(compiled.predict(best.params, best.batch_stats, dataset.test.images), dataset.test.labels)
    test_seconds = time.perf_counter() - began
    figures = setup.measure(best.params, best.batch_stats)
    on_host = jax.device_get(best)  # the one of this process, which is alone with it
    units = tabulate_units(setup.network, on_host.params, on_host.batch_stats)
    confusion = confusion_of(dataset.test.labels, scores.predictions, len(dataset.class_names))
    examples = Examples(
        dataset.test.images,
        dataset.test.labels,
        scores.predictions,
        scores.confidences,
        scores.losses,
        dataset.class_names,
    )
    noise, corrupted = None, None
    with ThreadPoolExecutor(1) as pool:
        if is_first():
            metrics = read_metrics(place / "metrics.jsonl")
            # On one core, while all of them find out about noise.
            plots = pool.submit(
                draw_plots,
                metrics=metrics,
                best_epoch=int(on_host.epoch),
                units=units,
                examples=examples,
                confusion=confusion,
            )
        if config.noise == "quick":
            kept = place / SCORED / digest((on_host.params, on_host.batch_stats))[:16]
            with progress_bar(console, "noise", len(CORRUPTIONS)) as advance:
                noise, corrupted = quick(
                    config,
                    stop.before(partial(compiled.predict, best.params, best.batch_stats)),
                    dataset,
                    advance,
                    kept,
                )
    grey = grey_images(dataset)
    if not is_first():
        return None
    tested = {
        "test_accuracy": accuracy(scores),
        "test_top5_accuracy": accuracy(scores, among=5),
        "test_loss": float(scores.losses.mean()),
        **({} if noise is None else {key: noise[name] for key, name in NOISE.items()}),
        "test_seconds": test_seconds,
        "median_tightness": float(np.median([unit["tightness"] for unit in units])),
        **figures,
        **grey,
    }
    summary = summary_of(config, dataset, on_host, metrics, tested, about)
    write_json(place / "units.json", units)
    if noise is not None:
        write_json(place / "robustness.json", noise)
    # Everything is drawn before anything is written: a plot that fails leaves no half of a report.
    write_report(
        place,
        {**plots.result(), **(draw_noise_plots(noise, corrupted) if noise else {})},
        config=to_json(config),
        metrics=metrics,
        summary=summary,
        units=units,
        robustness=noise,
    )
    # Last, so that a run with a summary has everything else.
    write_json(place / "summary.json", summary)
    shutil.rmtree(place / SCORED, ignore_errors=True)
    return summary, units


def summary_of(
    config: ResolvedConfig,
    dataset: Dataset,
    best: Best,
    metrics: Sequence[Mapping[str, Any]],
    tested: Mapping[str, Any],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns the summary of a run, flat.

    Args:
      config: of the run.
      dataset: that it was trained on.
      best: its network.
      metrics: the records of its epochs.
      tested: what the test found.
      about: what else is to be told.
    """
    method = make_method(config.method, config.wbits, config.abits)
    params = without_learned(best.params)
    seconds = [record["seconds"] for record in metrics]
    validation = {record["epoch"]: record["validation_accuracy"] for record in metrics}
    may_skip = any(SKIPPED in record for record in metrics)
    return {
        "dataset": dataset.name,
        "model": config.model,
        "structure": config.structure,
        "method": config.method,
        "bits": f"{config.wbits}/{config.abits}",
        "constraint": config.constraint,
        **tested,
        "validation_accuracy": validation.get(int(best.epoch), float(best.accuracy)),
        "best_epoch": int(best.epoch),
        "train_seconds": sum(seconds),
        "epoch_seconds": float(np.median(seconds)),
        "images_per_second": float(np.median([record["images_per_second"] for record in metrics])),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "model_bytes": -(-stored_bits(params, method) // 8),
        **({SKIPPED: sum(record.get(SKIPPED, 0) for record in metrics)} if may_skip else {}),
        **about,
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "accumulate": config.accumulate,
        "optimizer": config.optimizer,
        "learning_rate": config.learning_rate,
        "weight_decay": config.weight_decay,
        "precision": config.precision,
        "seed": config.seed,
        "train_examples": len(dataset.train.labels),
        "data_source": dataset.source,
        "data_digest": dataset.digest,
        **directory.provenance(),
    }
