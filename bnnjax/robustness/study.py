"""Trained networks side by side: accuracy and scores under every corruption."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from rich.console import Console

from bnnjax import report
from bnnjax.cache import use_compilation_cache
from bnnjax.data import Dataset
from bnnjax.data.corrupted import CorruptedSet, open_corrupted
from bnnjax.robustness.accuracy import predictor
from bnnjax.robustness.evaluation import chosen, evaluate, example_images
from bnnjax.robustness.records import against_baseline
from bnnjax.robustness_config import RobustnessConfig
from bnnjax.run import load
from bnnjax.train.parallel import make_mesh
from bnnjax.trained import Trained, read_config, read_trained


class Asked(NamedTuple):
    """An evaluation that is known to be possible."""

    config: RobustnessConfig
    dataset: Dataset
    networks: tuple[Trained, ...]  # the baseline first, and once
    corrupted: CorruptedSet
    corruptions: tuple[str, ...]
    severities: tuple[int, ...]


def prepare_study(config: RobustnessConfig) -> Callable[[Console], int]:
    """Reads runs and images and returns the work: robustness.html, .json, .csv and tables on the console.

    Raises:
      ValueError: with one sentence, if a run or an image cannot be read, if runs are of different data, or if
        there is no such corruption.
    """
    use_compilation_cache()
    make_mesh(config.batch_size)  # refuses a batch that devices cannot share
    baseline = config.baseline or config.runs[0]
    places = list(dict.fromkeys([baseline, *config.runs]))
    dataset = None
    networks = []
    for place in places:
        settings = read_config(place)
        # Clean images are those of the test split alone, whatever each was trained on.
        given = {} if config.data_dir is None else {"data_dir": config.data_dir}
        own = load(settings.with_values(**given))
        if dataset is None:
            dataset = own
        elif own.name != dataset.name:
            raise ValueError(f"the run {place} is of {own.name}, and {places[0]} of {dataset.name}")
        networks.append(read_trained(place, own))
    assert dataset is not None
    corrupted = open_corrupted(
        config.images, dataset, seed=config.seed, examples=config.examples, batch_size=config.batch_size
    )
    severities = config.severity_numbers()
    if lacking := {*severities} - {*corrupted.severities}:
        raise ValueError(f"there is no severity {min(lacking)} in {corrupted.source}")
    names = chosen(config.corruptions, corrupted)
    return partial(study, Asked(config, dataset, tuple(networks), corrupted, names, severities))


def study(asked: Asked, console: Console) -> int:
    """Evaluates the networks; returns the exit code."""
    config, dataset = asked.config, asked.dataset
    predicts = [predictor(network, dataset, config.batch_size) for network in asked.networks]
    with report.progress_bar(console, "corruptions", len(asked.corruptions)) as advance:
        records = evaluate(
            asked.networks,
            predicts,
            dataset,
            asked.corrupted,
            asked.corruptions,
            asked.severities,
            config.workdir,
            advance,
        )
    records = against_baseline(records, records[0])
    report.write_json(config.workdir / "robustness.json", records)
    report.write_text_atomically(config.workdir / "robustness.csv", report.robustness_csv(records))
    console.print(report.robustness_table(records))
    images = example_images(asked.corrupted, dataset, asked.corruptions, asked.severities)
    page = report.write_robustness_page(config.workdir, records, images)
    console.print(f"report: {page}", soft_wrap=True, markup=False, highlight=False)
    return 0
