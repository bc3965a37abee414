"""A training run from its configuration to its report."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from rich.console import Console

from bnnjax import report, workdir
from bnnjax.bounds import unit_table
from bnnjax.cache import cache_directory
from bnnjax.config import Config, to_json
from bnnjax.data import Dataset, load_cifar10, load_digits, load_prepared
from bnnjax.methods import make_method
from bnnjax.models import make_model
from bnnjax.task import Setup, final_schedule, make_measure, make_setup
from bnnjax.train.checkpoint import Checkpoints
from bnnjax.train.loop import Fit, NonFiniteLossError, accuracy, fit, score, stop_on_signals
from bnnjax.train.parallel import Compiled, compile_task, make_mesh, replicate
from bnnjax.train.state import Best
from bnnjax.train.step import Images

STOPPED_BY_LOSS = 3  # exit code of a run whose loss stopped being finite


class Prepared(NamedTuple):
    """A run that is known to be possible; nothing has been compiled yet."""

    config: Config  # with nothing left out
    place: Path
    setup: Setup
    dataset: Dataset
    mesh: Mesh
    is_known: bool  # whether the run directory was there before


def resolve(config: Config) -> Config:
    """Returns the configuration with everything that was left out filled in.

    Raises:
      ValueError: if the method, its bits or the network are not defined.
    """
    method = make_method(config.method, config.wbits, config.abits)
    config = config.with_recipe(method.recipe if config.recipe == "published" else config.common)
    model = make_model(config.model, method, structure=config.structure, classes=10)
    return config.with_values(
        wbits=method.wbits,
        abits=method.abits,
        structure=getattr(model, "structure", "plain"),
        workdir=config.workdir or workdir.default_workdir(config),
    )


def load(config: Config) -> Dataset:
    """Returns the data set that the configuration names.

    Raises:
      ValueError: if it cannot be read (DataError), or has no such choice.
    """
    if config.archive is not None and config.dataset != "cifar10":
        raise ValueError(f"--archive is for CIFAR-10; the data set is {config.dataset}")
    if config.dataset == "cifar10":
        return load_cifar10(config.data_dir, archive=config.archive, train_examples=config.train_examples)
    if config.dataset == "digits":
        return load_digits(config.data_dir, train_examples=config.train_examples)
    return load_prepared(config.dataset, config.data_dir, train_examples=config.train_examples)


def use_compilation_cache() -> None:
    """Turns on JAX's persistent compilation cache in the user's cache directory, unless JAX has a place."""
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_directory() / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def prepare(config: Config) -> Prepared:
    """Checks everything that can be wrong with a run before anything is compiled, then claims its directory.

    Raises:
      ValueError: with one sentence that says what is wrong.
    """
    use_compilation_cache()
    config = resolve(config)
    assert config.workdir is not None
    assert config.batch_size is not None
    mesh = make_mesh(config.batch_size)
    is_known = workdir.claim(config.workdir, config)
    dataset = load(config)
    if is_known:
        workdir.check_digest(config.workdir, dataset.digest)
    setup = make_setup(config, dataset)
    if not is_known:
        data = {"source": dataset.source, "digest": dataset.digest}
        workdir.record_config(config.workdir, config, data=data, **describe(mesh))
    return Prepared(config, config.workdir, setup, dataset, mesh, is_known)


def describe(mesh: Mesh) -> dict[str, Any]:
    """Returns the number and the kind of a mesh's devices, for the records of a run."""
    return {"devices": mesh.size, "device_kind": mesh.devices.flat[0].device_kind}


def execute(run: Prepared, console: Console) -> int:
    """Trains, tests and reports; returns the exit code.

    0: finished, or stopped by a signal with everything saved.  3: the loss stopped being finite.
    """
    config, task, dataset, mesh = run.config, run.setup.task, run.dataset, run.mesh
    assert config.batch_size is not None

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False, highlight=False)

    if (run.place / "summary.json").exists():
        summary, units = (report.read_json(run.place / name) for name in ("summary.json", "units.json"))
        console.print(report.summary_table(summary, units))
        say(f"this run is finished already; its results are in {run.place}")
        return 0
    compiled = compile_task(task, mesh, config.batch_size, len(dataset.train.labels))
    init_key, data_key = jax.random.split(jax.random.key(config.seed))
    state = compiled.init(init_key)
    checkpoints = Checkpoints(run.place / "checkpoints", say)
    restored = checkpoints.restore(state)
    done = 0
    if restored is not None:
        done, state = restored
        say(f"going on from step {done}")
    elif run.is_known:
        say("there is no checkpoint to go on from; starting at the beginning")
    metrics_file = run.place / "metrics.jsonl"
    report.truncate_metrics(metrics_file, done // task.steps_per_epoch)

    total_steps = task.epochs * task.steps_per_epoch
    with (
        stop_on_signals() as stop,
        report.event_writer(run.place, done if run.is_known else None) as write_events,
        report.training_progress(console, task.epochs, task.steps_per_epoch, done) as display,
    ):

        def on_epoch(record: dict[str, Any]) -> None:
            report.append_metrics(metrics_file, record)
            write_events(record)
            display.epoch_line(record)

        setting = Fit(
            task=task,
            compiled=compiled,
            train=replicate(
                mesh, Images(jnp.asarray(dataset.train.images), jnp.asarray(dataset.train.labels))
            ),
            validation=dataset.validation,
            key=replicate(mesh, data_key),
            batch_size=config.batch_size,
            checkpoints=checkpoints,
            checkpoint_every=config.checkpoint_every,
            measure=make_measure(run.setup.network, run.setup.method),
            learning_rate=run.setup.learning_rate,
            on_epoch=on_epoch,
            display=display,
            stop=stop,
        )
        try:
            state = fit(setting, state)
        except NonFiniteLossError as error:
            kept = checkpoints.latest_step()
            last = (
                f"checkpoint {kept} in {run.place} is the last good one" if kept else "nothing was saved yet"
            )
            Console(stderr=True).print(f"stopped: {error}; {last}", soft_wrap=True, markup=False)
            return STOPPED_BY_LOSS
        finally:
            checkpoints.close()
    done = int(state.train.step)
    if done < total_steps:
        again = "the same command" + (" with --resume=auto" if config.resume == "never" else "")
        say(
            f"stopped by {stop.signal_name} at step {done} of {total_steps}; everything is saved in "
            f"{run.place}, and {again} goes on from there"
        )
        return 0
    summary, units = conclude(run, compiled, state.best)
    console.print(report.summary_table(summary, units))
    say(f"report: {run.place / 'report.html'}")
    return 0


def conclude(run: Prepared, compiled: Compiled, best: Best) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Tests the best network, once, and writes summary.json, units.json and report.html.

    Returns:
      The summary and the table of units.
    """
    config, dataset = run.config, run.dataset
    began = time.perf_counter()
    scores = score(compiled.predict(best.params, best.batch_stats, dataset.test.images), dataset.test.labels)
    test_seconds = time.perf_counter() - began
    figures = make_measure(run.setup.network, run.setup.method)(best.params, best.batch_stats)
    kernels = jax.device_get(
        jax.jit(run.setup.network.kernels)(best.params, best.batch_stats, final_schedule(run.setup.method))
    )
    binary = {
        "/".join(key.key for key in path[:-2])
        for path, _ in jax.tree_util.tree_leaves_with_path(best.params)
        if path[-1].key == "latent"
    }
    units = unit_table(run.setup.network.chain, kernels, binary.__contains__)
    metrics = report.read_metrics(run.place / "metrics.jsonl")
    seconds = [record["seconds"] for record in metrics]
    validation = {record["epoch"]: record["validation_accuracy"] for record in metrics}
    summary = {
        "dataset": dataset.name,
        "model": config.model,
        "structure": config.structure,
        "method": config.method,
        "bits": f"{config.wbits}/{config.abits}",
        "constraint": config.constraint,
        "test_accuracy": accuracy(scores, dataset.test.labels),
        "test_loss": float(scores.losses.mean()),
        "validation_accuracy": validation.get(int(best.epoch), float(best.accuracy)),
        "best_epoch": int(best.epoch),
        **figures,
        "median_tightness": float(np.median([unit["tightness"] for unit in units])),
        "train_seconds": sum(seconds),
        "epoch_seconds": float(np.median(seconds)),
        "test_seconds": test_seconds,
        "images_per_second": float(np.median([record["images_per_second"] for record in metrics])),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(best.params)),
        **describe(run.mesh),
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "optimizer": config.optimizer,
        "precision": config.precision,
        "seed": config.seed,
        "train_examples": len(dataset.train.labels),
        "data_source": dataset.source,
        "data_digest": dataset.digest,
        **workdir.provenance(),
    }
    classes = len(dataset.class_names)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (dataset.test.labels, scores.predictions), 1)
    examples = report.Examples(
        dataset.test.images,
        dataset.test.labels,
        scores.predictions,
        scores.confidences,
        scores.losses,
        dataset.class_names,
    )
    report.write_json(run.place / "units.json", units)
    report.write_report(
        run.place,
        config=to_json(config),
        metrics=metrics,
        summary=summary,
        units=units,
        examples=examples,
        confusion=confusion,
    )
    # Last, so that a run with a summary has everything else.
    report.write_json(run.place / "summary.json", summary)
    return summary, units
