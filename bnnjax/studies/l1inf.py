"""The L1,inf study: effects of the constraint on accuracy, accuracy under noise and the bound."""

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from bnnjax.config.l1inf_study import L1InfStudyConfig
from bnnjax.data import Split
from bnnjax.data.corrupted import Noisy, generated
from bnnjax.data.load import load
from bnnjax.report.studies.l1inf import (
    constraint_study_csv,
    constraint_study_figure,
    constraint_study_page,
    constraint_study_table,
)
from bnnjax.report.style.theme import png_bytes
from bnnjax.robustness.outcomes import Predict, measure
from bnnjax.robustness.scores import accuracy
from bnnjax.runs.resolve import resolve
from bnnjax.runs.saved import predictor, read_trained
from bnnjax.runs.series import Run, check_runs, execute_runs
from bnnjax.runtime.console import say
from bnnjax.runtime.files import read_json, write_bytes_atomically, write_json, write_text_atomically

NOISES = ("gaussian_noise", "impulse_noise", "gaussian_blur")
CHUNK = 1000  # images that are corrupted at once
AMOUNTS = {"soft": "strength", "hard": "radius"}  # the setting that is varied in each form


def noisy_batches(
    split: Split, seed: int, corruptions: Sequence[str], severities: tuple[int, ...]
) -> dict[str, list[Noisy]]:
    """Returns a split's images with noise by corruption, in host memory; all runs get the same images.

    Args:
      split: the clean images.
      seed: of the noise.
      corruptions: names, see `bnnjax.data.corruptions`.
      severities: 1 to 5.
    """
    corrupted = generated(split, seed, name="the study's", batch_size=CHUNK)
    return {
        name: [Noisy(np.asarray(images), labels) for images, labels in corrupted.batches(name, severities)]
        for name in corruptions
    }


def noisy_accuracies(
    predict: Predict, noisy: Mapping[str, Sequence[Noisy]], severities: tuple[int, ...]
) -> dict[str, dict[str, float]]:
    """Returns the accuracy in percent, by corruption and severity (as text).

    Args:
      predict: the network.
      noisy: images, as `noisy_batches` returns them.
      severities: theirs.
    """
    found = {}
    for name, batches in noisy.items():
        (outcomes,), labels = measure([predict], batches, severities)
        found[name] = {severity: accuracy(outcome, labels) for severity, outcome in outcomes.items()}
    return found


def study_runs(config: L1InfStudyConfig) -> list[Run]:
    """Returns the runs: all settings with the first seed, then all with the next."""
    return [
        Run(
            name,
            resolve(
                config.run(
                    seed=seed,
                    constraint="none" if settings is None else "l1inf",
                    workdir=config.place / "runs" / f"{name}-seed{seed}",
                    **({} if settings is None else {"l1inf": settings}),
                )
            ),
        )
        for seed in range(config.seeds)
        for name, settings in config.settings().items()
    ]


def prepare_study(config: L1InfStudyConfig) -> Callable[[Console], int]:
    """Checks the settings of all runs, and returns the work.

    Raises:
      ValueError: with one sentence that says what is wrong.
    """
    runs = study_runs(config)
    check_runs(runs)
    return partial(study, config, runs)


def study(config: L1InfStudyConfig, runs: Sequence[Run], console: Console) -> int:
    """Executes the unfinished runs, tests each under noise, and rewrites the study after each.

    Returns the exit code, as `execute`.
    """
    dataset = load(runs[0].config)
    splits = {
        name: Split(*(part[: config.noise_images] for part in split))
        for name, split in (("validation", shuffled(dataset.validation)), ("test", shuffled(dataset.test)))
    }
    noisy = {
        name: noisy_batches(split, place, NOISES, config.severities)
        for place, (name, split) in enumerate(splits.items())
    }

    noise = {
        "severities": list(config.severities),
        "images": {name: len(split.labels) for name, split in splits.items()},
    }

    def is_measured(run: Run) -> bool:
        found = read_json(noise_file(run)) if noise_file(run).exists() else {}
        return {key: found.get(key) for key in noise} == noise

    def measured(run: Run) -> dict[str, Any]:
        predict = predictor(read_trained(run.place, dataset), dataset, run.config.batch_size)
        return {
            **noise,
            **{name: noisy_accuracies(predict, noisy[name], config.severities) for name in splits},
        }

    records: list[dict[str, Any]] = []

    def write(diverged: set[Path]) -> None:
        nonlocal records
        for run in runs:
            if run.summary is not None and not is_measured(run):
                write_json(noise_file(run), measured(run))
        records = study_records(config, runs, diverged)
        write_study(config, records)

    code = execute_runs(runs, console, write)
    if code is not None:
        return code
    table = constraint_study_table(records)
    for text in ("\n" + table, f"study: {config.place / 'study.md'}, study.csv, study.png"):
        say(console, text)
    return 0


def shuffled(split: Split) -> Split:
    """Returns the images in a fixed random order, so that the first ones cover all classes."""
    order = np.random.default_rng(0).permutation(len(split.labels))
    return Split(split.images[order], split.labels[order])


def noise_file(run: Run) -> Path:
    """Returns the file of a run's accuracies under noise."""
    return run.place / "noise.json"


def study_records(config: L1InfStudyConfig, runs: Sequence[Run], diverged: set[Path]) -> list[dict[str, Any]]:
    """Returns a record per setting, as `report.studies.l1inf` describes it."""
    records = []
    for name, settings in config.settings().items():
        own = [run for run in runs if run.name == name]
        finished = [run for run in own if run.summary is not None and noise_file(run).exists()]
        form = "none" if settings is None else settings.form
        records.append(
            {
                "name": name,
                "form": form,
                "target": None if settings is None else settings.target,
                "amount": None if settings is None else getattr(settings, AMOUNTS[form]),
                "summaries": [run.summary for run in finished],
                "noise": [read_json(noise_file(run)) for run in finished],
                "diverged": sum(run.place in diverged for run in own),
            }
        )
    return records


def write_study(config: L1InfStudyConfig, records: Sequence[dict[str, Any]]) -> None:
    """Writes study.md, study.csv and study.png for the finished runs."""
    title = f"L1,inf constraint on {config.dataset}: {config.model}, {config.method}"
    page = constraint_study_page(title, shlex.join(["python", *sys.argv]), records)
    write_text_atomically(config.place / "study.md", page)
    write_text_atomically(config.place / "study.csv", constraint_study_csv(records))
    figure = constraint_study_figure(records)
    write_bytes_atomically(config.place / "study.png", png_bytes(figure))
