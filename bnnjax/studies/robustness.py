"""The robustness study: compares trained networks under every corruption, and under attack."""

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from bnnjax.config.robustness import NO_TRACE, RobustnessConfig
from bnnjax.data import Dataset
from bnnjax.data.corrupted import CorruptedSet, open_corrupted
from bnnjax.data.corruptions import CORRUPTIONS, corrupt
from bnnjax.data.load import load
from bnnjax.report.robustness.attacks import attacks_html, attacks_table
from bnnjax.report.robustness.page import write_robustness_page
from bnnjax.report.robustness.tables import (
    has_seeds,
    robustness_csv,
    robustness_spread_table,
    robustness_table,
)
from bnnjax.report.run.console import progress_bar
from bnnjax.robustness.evaluation import Advance, chosen, example_images
from bnnjax.robustness.outcomes import (
    Predict,
    measure,
    outcome_file,
    outcome_of,
    read_outcomes,
    write_outcomes,
)
from bnnjax.robustness.records import Evaluated, against_baseline, robustness_record, told_apart
from bnnjax.robustness.scores import Outcome
from bnnjax.runs import directory
from bnnjax.runs.saved import Trained, predictor, read_config, read_trained, require_full_precision
from bnnjax.runtime.cache import use_compilation_cache
from bnnjax.runtime.console import say, show
from bnnjax.runtime.files import read_json, write_json, write_text_atomically
from bnnjax.runtime.lock import check_writable
from bnnjax.studies.attacks import attack_run, check_classes
from bnnjax.studies.feature_maps import study_features
from bnnjax.train.loop import StoppedError, StopRequest, stop_on_signals
from bnnjax.train.parallel import make_mesh

TRACED_IMAGES = 256


class Asked(NamedTuple):
    """A checked evaluation: the networks, images and settings."""

    config: RobustnessConfig
    dataset: Dataset
    networks: tuple[Trained, ...]  # the baseline first, and once
    corrupted: CorruptedSet
    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    twin: Trained | None  # in full precision


def evaluate(
    networks: Sequence[Trained],
    predicts: Sequence[Predict],
    dataset: Dataset,
    corrupted: CorruptedSet,
    corruptions: Sequence[str],
    severities: tuple[int, ...],
    place: Path,
    advance: Advance,
) -> list[dict[str, Any]]:
    """Returns the `robustness_record` of each network.

    Each corruption's images are made once for all networks that were not evaluated on them yet; predictions
    are kept below `place`, by the digests of network and data.

    Args:
      networks: trained.
      predicts: the same as functions.
      dataset: its test images are the clean ones.
      corrupted: the set of noisy images.
      corruptions: which ones to use.
      severities: which ones to use.
      place: directory of the evaluation.
      advance: called after each corruption.

    Raises:
      DataError: if images or kept predictions cannot be read.
    """
    settings = {
        "source": corrupted.source,
        "examples": corrupted.examples,
        "severities": list(severities),
        "data": dataset.digest,
    }

    def file(network: Trained, name: str) -> Path:
        return outcome_file(place, network.digest, settings, name)

    clean = []
    for network, predict in zip(networks, predicts, strict=True):
        kept = read_outcomes(file(network, "clean"), (0,))
        if kept is None:
            kept = {"0": outcome_of(predict(dataset.test.images))}, dataset.test.labels
            write_outcomes(file(network, "clean"), *kept)
        clean.append(kept[0]["0"])
    noisy: list[dict[str, dict[str, Outcome]]] = [{} for _ in networks]
    labels = dataset.test.labels
    for name in corruptions:
        found = {
            n: kept
            for n, network in enumerate(networks)
            if (kept := read_outcomes(file(network, name), severities)) is not None
        }
        missing = [n for n in range(len(networks)) if n not in found]
        if missing:
            batches = corrupted.batches(name, severities)
            new, labels = measure([predicts[n] for n in missing], batches, severities)
            for n, outcomes in zip(missing, new, strict=True):
                write_outcomes(file(networks[n], name), outcomes, labels)
                found[n] = outcomes, labels
        for n, own in enumerate(noisy):
            own[name], labels = found[n]
        advance(name)
    return [
        robustness_record(
            network.config.with_values(workdir=network.place),
            Evaluated(outcome, dataset.test.labels, own, labels),
            corrupted,
        )
        for network, outcome, own in zip(networks, clean, noisy, strict=True)
    ]


def prepare_study(config: RobustnessConfig) -> Callable[[Console], int]:
    """Reads runs and images and returns the work: robustness.html, .json, .csv and tables on the console.

    Raises:
      ValueError: with one sentence, if a run or an image cannot be read or the directory cannot be written,
        if runs have different data sets, if a corruption is unknown, or if the twin is not in full precision.
    """
    use_compilation_cache()
    make_mesh(config.batch_size)  # rejects a batch that devices cannot share
    check_writable(config.workdir)
    baseline = config.baseline or config.runs[0]
    # Clean images are those of the test split, whatever images each network was trained on.
    given = {} if config.data_dir is None else {"data_dir": config.data_dir}
    dataset = load(read_config(baseline).with_values(**given))
    networks = [read_trained(baseline, dataset)]
    for place in dict.fromkeys(config.runs):
        if place == baseline:
            continue
        own = load(read_config(place).with_values(**given))
        if own.name != dataset.name:
            raise ValueError(f"the run {place} is on {own.name}, but {baseline} is on {dataset.name}")
        networks.append(read_trained(place, own))
    corrupted = open_corrupted(
        config.images, dataset, seed=config.seed, examples=config.examples, batch_size=config.batch_size
    )
    severities = config.severity_numbers()
    if lacking := {*severities} - {*corrupted.severities}:
        have = ", ".join(map(str, corrupted.severities))
        raise ValueError(f"there is no severity {min(lacking)} in {corrupted.source}; there are {have}")
    names = chosen(config.corruptions, corrupted)
    if not names:
        raise ValueError("corruptions must be all, benchmark or names; got none")
    if config.trace not in (NO_TRACE, *CORRUPTIONS):
        raise ValueError(f"trace must be none or one of {', '.join(CORRUPTIONS)}; got {config.trace}")
    tests = len(dataset.test.labels)
    if config.attacks and config.attack_images > tests:
        raise ValueError(f"attack_images must be at most {tests}; got {config.attack_images}")
    if config.attacks:
        check_classes(dataset)
    twin = None
    if config.twin is not None:
        twin = read_trained(config.twin, dataset)
        require_full_precision("twin", twin)
    return partial(study, Asked(config, dataset, tuple(networks), corrupted, names, severities, twin))


def study(asked: Asked, console: Console) -> int:
    """Evaluates the networks; returns the exit code: 0, also if it is stopped by a signal."""
    with stop_on_signals() as stop:
        try:
            page = evaluate_and_write(asked, stop, console)
        except StoppedError:
            kept = f"what was scored is kept in {asked.config.workdir}"
            say(console, f"stopped by {stop.signal_name}; {kept}; rerun the command to resume")
            return 0
    say(console, f"report: {page}")
    return 0


def evaluate_and_write(asked: Asked, stop: StopRequest, console: Console) -> Path:
    """Evaluates the networks; returns the page that tells of it.

    Raises:
      StoppedError: if somebody asks to stop; what was scored until then is kept.
    """
    config, dataset = asked.config, asked.dataset
    predicts = [stop.before(predictor(network, dataset, config.batch_size)) for network in asked.networks]
    with progress_bar(console, "corruptions", len(asked.corruptions)) as advance:
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
    records = told_apart(records, [directory.settings_of(network.place) for network in asked.networks])
    records = against_baseline(records, records[0])
    show(console, robustness_table(records))
    attacked = attack(asked, stop, console)
    for record, found in zip(records, attacked, strict=False):  # there may be no attacks
        record["worst_case"] = {size: each["worst_case"] for size, each in found["eps"].items()}
    write_json(config.workdir / "robustness.json", records)
    write_text_atomically(config.workdir / "robustness.csv", robustness_csv(records))
    if has_seeds(records):
        show(console, robustness_spread_table(records))
    traces = trace(asked, [record["label"] for record in records])
    return write_robustness_page(
        config.workdir,
        records,
        example_images(asked.corrupted, dataset, asked.corruptions, asked.severities),
        traces,
        attacks_html(attacked) if attacked else None,
        command=["python", *sys.argv],
        about=directory.provenance(),
    )


def trace(asked: Asked, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Returns where noise changes the feature maps of each network; empty if not requested."""
    config, dataset = asked.config, asked.dataset
    if config.trace == NO_TRACE:
        return []
    clean = dataset.test.images[:TRACED_IMAGES]
    key = jax.random.key(config.seed)
    noisy = np.asarray(corrupt(key, clean, config.trace, config.trace_severity))
    return [
        study_features(
            network,
            dataset,
            clean,
            noisy,
            label=label,
            corruption=config.trace,
            severity=config.trace_severity,
        )
        for network, label in zip(asked.networks, labels, strict=True)
    ]


def attack(asked: Asked, stop: StopRequest, console: Console) -> list[dict[str, Any]]:
    """Attacks each network as configured, and writes attacks.json; earlier results are read from there.

    Raises:
      StoppedError: if somebody asks to stop, before the next attack.
    """
    config = asked.config
    if not config.attacks:
        return []
    settings: dict[str, Any] = {
        "images": config.attack_images,
        "steps": config.steps,
        "queries": config.queries,
        "seed": config.seed,
    }
    given = {**settings, "sizes": list(config.attacks), "twin": asked.twin and asked.twin.digest}
    file = config.workdir / "attacks.json"
    kept = {record["key"]: record for record in read_json(file)} if file.exists() else {}
    records = []
    for network in asked.networks:
        key = f"{network.digest} {json.dumps(given, sort_keys=True)}"
        if key not in kept:
            eps = [size / 255 for size in config.attacks]
            with console.status("attack") as status:
                found = attack_run(
                    network,
                    asked.dataset,
                    eps=eps,
                    twin=asked.twin,
                    on_attack=stop.before(status.update),
                    **settings,
                )
            kept[key] = {**found, "key": key}
            write_json(file, list(kept.values()))
        records.append(kept[key])
        show(console, attacks_table(records[-1]))
    return records
