"""A finished run, repeated from its record and compared with what comes of it."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from bnnjax.config.resolved import ResolvedConfig
from bnnjax.data import Dataset
from bnnjax.data.load import load
from bnnjax.runs.directory import is_finished
from bnnjax.runs.plan import Plan, prepare
from bnnjax.runs.saved import read_config, read_trained
from bnnjax.runs.train import execute
from bnnjax.runtime.console import say
from bnnjax.runtime.determinism import require_determinism
from bnnjax.runtime.exit_codes import UNEQUAL
from bnnjax.runtime.files import read_json, write_json

RESULTS = ("test_accuracy", "validation_accuracy", "log_lipschitz_bound")
CONDITIONS = ("git_revision", "xla_flags", "devices", "device_kind", "cpu_cores")


def prepare_repetition(
    run: Path,
    place: Path,
    *,
    data_dir: Path | None = None,
    pretrained: Path | None = None,
    teacher: Path | None = None,
    lcr_teacher: Path | None = None,
) -> Callable[[Console], int]:
    """Checks that a run can be repeated and returns the work.

    Args:
      run: its directory.
      place: the new run's.
      data_dir: where the data lies, here and below if it is not where the run found it.
      pretrained: the network that it began from.
      teacher: the network that gave the targets.
      lcr_teacher: the network that lcr compared with.

    Raises:
      ValueError: with one sentence, if there is no such run or it is not finished, if `place` is its own, or
        if the data or another network are not those that it was made from.
    """
    config = read_config(run)
    if place.resolve() == run.resolve():
        raise ValueError(f"the work directory {place} is that of the run itself; choose another --workdir")
    if not is_finished(run):
        raise ValueError(f"the run {run} is not finished: there is nothing to compare with")
    given = {"data_dir": data_dir, "pretrained": pretrained, "teacher": teacher}
    config = config.with_values(
        **{name: path for name, path in given.items() if path is not None},
        lcr=dataclasses.replace(config.lcr, teacher=lcr_teacher or config.lcr.teacher),
        resume="auto",
        workdir=place,
    )
    if config.deterministic:
        require_determinism()  # before networks are read, which starts the backend
    record = read_json(run / "config.json")
    dataset = load(config)
    check_sources(run, record, config, dataset)
    before = results(run, dataset)
    return partial(repeat, prepare(config, dataset), run, record, before)


def check_sources(run: Path, record: Mapping[str, Any], config: ResolvedConfig, dataset: Dataset) -> None:
    """Checks that data and other networks are those of a run's record.

    Raises:
      ValueError: with one sentence about the first that is another.
    """
    places = {"pretrained": config.pretrained, "teacher": config.teacher, "lcr.teacher": config.lcr.teacher}
    digests = {"data": dataset.digest}
    for name, place in places.items():
        if place is not None:
            digests[name] = read_trained(place, dataset).digest
    for name, now in digests.items():
        before = (record.get(name) or {}).get("digest", "")
        if before != now:
            raise ValueError(
                f"the {name} of the run {run} was another: sha256 {before[:12]} there, {now[:12]} here"
            )


def results(run: Path, dataset: Dataset) -> dict[str, Any]:
    """Returns what is compared of a finished run: figures, and the sha256 of the network that was tested."""
    summary = read_json(run / "summary.json")
    return {**{name: summary[name] for name in RESULTS}, "network": read_trained(run, dataset).digest}


def other_conditions(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yields a sentence for all that bits may depend on and that differs between the records of two runs."""
    versions = [record["versions"] for record in (before, now)]
    for name in dict.fromkeys([*versions[0], *versions[1]]):
        there, here = (version.get(name) for version in versions)
        if there != here:
            yield f"{name} was {there} and is {here}"
    for name in CONDITIONS:
        if (before.get(name) or "") != (now.get(name) or ""):
            yield f"{name.replace('_', ' ')} was {before.get(name)} and is {now.get(name)}"


def repeat(
    plan: Plan, run: Path, record: Mapping[str, Any], before: Mapping[str, Any], console: Console
) -> int:
    """Trains and compares; returns the exit code: that of the run, or 5 if its results are others."""
    place = plan.run.place
    conditions = list(other_conditions(record, read_json(place / "config.json")))
    for sentence in conditions:
        say(console, sentence)
    code = execute(plan, console)
    if not is_finished(place):
        return code
    now = results(place, plan.run.dataset)
    unequal = [name for name in before if before[name] != now[name]]
    compared = {name: {"before": before[name], "now": now[name]} for name in before}
    write_json(
        place / "rerun.json",
        {"run": str(run.absolute()), "equal": not unequal, **compared, "other_conditions": conditions},
    )
    for name in before:
        text = name.replace("_", " ")
        if name in unequal:
            say(console, f"{text}: {before[name]} before, {now[name]} now")
        else:
            say(console, f"{text}: the same to the bit, {now[name]}")
    if unequal:
        say(console, f"this is not a repetition of {run}")
        return UNEQUAL
    say(console, f"this repeats {run} to the bit")
    return 0
