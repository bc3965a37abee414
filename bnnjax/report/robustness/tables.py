"""Tables and CSV of networks' accuracy under noise.

A record describes one run: `run`, `label`, `model`, `method`, `constraint`, `setting` (in words, what else it
and others of its kind differ in but the seed), `seed`, `source` (of the images),
`examples` (how many), `severities` as text, `benchmark` (the corruptions that enter the means), and in
percent `clean_accuracy`, `accuracy` by corruption and severity with `intervals` of the same keys,
`mean_corruption_accuracy` with its `mean_corruption_accuracy_interval`, `mce` and `relative_mce` against the
run named `baseline`, `clean_ece`, `ece`, `mean_ece`, `flip_rate` and `mean_flip_rate`, and `worst_case`, by
the size of the attacks; what was not measured is None or missing.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bnnjax.report.style.formatting import (
    MISSING,
    csv_text,
    finite,
    number_text,
    spread,
    spread_text,
    value_text,
)
from bnnjax.report.style.table import plain_table

if TYPE_CHECKING:
    from rich.table import Table

Record = Mapping[str, Any]
Cells = tuple[list[str], list[list[str]]]  # heading and rows

# The groups of Hendrycks and Dietterich, arXiv 1903.12261; the last of each is one of their extras.
GROUPS = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "gaussian_blur"),
    "weather": ("snow", "frost", "fog", "brightness", "spatter"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression", "saturate"),
}
FIGURES = {  # key: heading
    "clean_accuracy": "clean, %",
    "mean_corruption_accuracy": "under noise, %",
    "mce": "mCE, %",
    "relative_mce": "rel. mCE, %",
    "mean_ece": "ECE under noise, %",
    "mean_flip_rate": "flips, %",
}


def check_records(records: Sequence[Record]) -> None:
    """Rejects an empty list, and records whose means are over different noise.

    Raises:
      ValueError: there is no record, or two differ in their benchmark or in their severities.
    """
    if not records:
        raise ValueError("a robustness report needs at least one record, got none")
    for key in ("benchmark", "severities"):
        for record in records[1:]:
            if list(record[key]) != list(records[0][key]):
                raise ValueError(
                    f"{record['label']} and {records[0]['label']} differ in {key}: "
                    f"{value_text(list(record[key]))} and {value_text(list(records[0][key]))}"
                )


def figures(record: Record) -> dict[str, Any]:
    """Returns a record's figures by their headings; those under attack, if any, come last."""
    attacks = record.get("worst_case") or {}
    return {heading: record.get(key) for key, heading in FIGURES.items()} | {
        f"worst case {size}, %": value for size, value in attacks.items()
    }


def headings(records: Sequence[Record]) -> list[str]:
    """Returns the headings of all figures of the records."""
    return list(dict.fromkeys(heading for record in records for heading in figures(record)))


def spoken(corruption: str) -> str:
    """Returns the name of a corruption as text, with spaces."""
    return corruption.replace("_", " ")


def group_of(corruption: str) -> str:
    """Returns the group that a corruption belongs to, or `other`."""
    return next((group for group, names in GROUPS.items() if corruption in names), "other")


def corruptions_of(records: Sequence[Record]) -> list[str]:
    """Returns all corruptions of the records, group by group, in the records' own order within a group."""
    names = dict.fromkeys(name for record in records for name in record["accuracy"])
    order = [*GROUPS, "other"]
    return sorted(names, key=lambda name: order.index(group_of(name)))


def over_severities(record: Record, corruption: str) -> float | None:
    """Returns a corruption's mean accuracy over the severities in percent, None if it was not measured."""
    values = record["accuracy"].get(corruption, {}).values()
    found = [number for value in values if (number := finite(value)) is not None]
    return statistics.mean(found) if found else None


def over_group(record: Record, group: str) -> float | None:
    """Returns the mean accuracy over those corruptions of the benchmark that belong to a group."""
    names = [name for name in record["benchmark"] if group_of(name) == group]
    found = [mean for name in names if (mean := over_severities(record, name)) is not None]
    return statistics.mean(found) if found else None


def groups_of(record: Record) -> list[str]:
    """Returns the groups of the corruptions in a record's benchmark."""
    return [group for group in (*GROUPS, "other") if over_group(record, group) is not None]


def worst_corruptions(record: Record, most: int = 3) -> list[tuple[str, float]]:
    """Returns the corruptions with the lowest mean accuracy, worst first, with that accuracy in percent."""
    means = [
        (name, mean) for name in record["accuracy"] if (mean := over_severities(record, name)) is not None
    ]
    return sorted(means, key=lambda pair: pair[1])[:most]


def with_interval(value: Any, interval: Sequence[Any] | None) -> str:
    """Formats a figure with its interval as `71.20 (70.31 to 72.09)`."""
    text = number_text(value)
    return text if interval is None else f"{text} ({number_text(interval[0])} to {number_text(interval[1])})"


def noise_text(record: Record) -> str:
    """Returns which noise the means are over, as text."""
    return f"{len(record['benchmark'])} corruptions at severities {value_text(list(record['severities']))}"


def robustness_cells(records: Sequence[Record]) -> Cells:
    """Returns the table of figures, with a row per run; the interval is that of the accuracy under noise."""
    columns, rows = headings(records), []
    behind = columns.index(FIGURES["mean_corruption_accuracy"]) + 1
    for record in records:
        own = figures(record)
        texts = [number_text(own.get(heading)) for heading in columns]
        rows.append([record["label"], *texts[:behind], _interval_text(record), *texts[behind:]])
    return ["network", *columns[:behind], "95 % interval", *columns[behind:]], rows


def _interval_text(record: Record) -> str:
    low, high = record.get("mean_corruption_accuracy_interval") or (None, None)
    return MISSING if low is None else f"{number_text(low, '.1f')} to {number_text(high, '.1f')}"


def group_cells(records: Sequence[Record]) -> Cells:
    """Returns the table of mean accuracies by group of corruptions, with a row per run."""
    groups = list(dict.fromkeys(group for record in records for group in groups_of(record)))
    rows = [
        [record["label"], *(number_text(over_group(record, group)) for group in groups)] for record in records
    ]
    return ["network", *(f"{group}, %" for group in groups)], rows


def spread_cells(records: Sequence[Record]) -> Cells:
    """Returns the table of figures over seeds, with a row for each model, method, constraint and setting."""
    runs: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        names = (*(str(record[key]) for key in ("model", "method", "constraint")), record.get("setting", ""))
        runs.setdefault(names, []).append(record)
    rows = [
        [", ".join(filter(None, names)), str(len(own))]
        + [
            spread_text(*spread(figures(record).get(heading) for record in own))
            for heading in headings(records)
        ]
        for names, own in runs.items()
    ]
    return ["model, method, constraint", "runs", *headings(records)], rows


def has_seeds(records: Sequence[Record]) -> bool:
    """Returns whether any two runs differ in nothing but the seed."""
    return len(spread_cells(records)[1]) < len(records)


def baseline_text(records: Sequence[Record]) -> str:
    """Returns what mCE is relative to, as text."""
    names = list(dict.fromkeys(record["baseline"] for record in records if record.get("baseline")))
    return f"mCE against {' and '.join(names)}" if names else "no baseline for mCE"


def _checked(cells: Callable[[Sequence[Record]], Cells], title: str, records: Sequence[Record]) -> Table:
    check_records(records)
    return plain_table(f"{title}; {noise_text(records[0])}", *cells(records))


def robustness_table(records: Sequence[Record]) -> Table:
    """Returns a table with a row per run: accuracy without and with noise, mCE, calibration, flips.

    Raises:
      ValueError: as `check_records`.
    """
    check_records(records)
    return _checked(robustness_cells, f"Under noise, {baseline_text(records)}", records)


def robustness_spread_table(records: Sequence[Record]) -> Table:
    """Returns a table of mean and deviation over seeds, a row for each model, method, constraint, setting.

    Raises:
      ValueError: as `check_records`.
    """
    return _checked(spread_cells, "Mean \N{PLUS-MINUS SIGN} sample standard deviation over seeds", records)


def robustness_csv(records: Sequence[Record]) -> str:
    """Returns the accuracies as CSV, with a line per run, corruption and severity; 0 is without noise.

    Raises:
      ValueError: as `check_records`.
    """
    check_records(records)
    lines = []
    for record in records:
        about = {key: record[key] for key in ("run", "label", "model", "method", "constraint", "seed")}
        clean = {"corruption": "none", "group": "none", "in_benchmark": False, "severity": "0"}
        lines.append(
            about
            | clean
            | {"accuracy": record["clean_accuracy"], "low": None, "high": None}
            | {"ece": record.get("clean_ece"), "flip_rate": None}
        )
        for name, by_severity in record["accuracy"].items():
            for severity, accuracy in by_severity.items():
                low, high = interval_of(record, name, severity) or (None, None)
                lines.append(
                    about
                    | {"corruption": name, "group": group_of(name)}
                    | {"in_benchmark": name in record["benchmark"], "severity": severity}
                    | {"accuracy": accuracy, "low": low, "high": high}
                    | {
                        key: (record.get(key) or {}).get(name, {}).get(severity)
                        for key in ("ece", "flip_rate")
                    }
                )
    return csv_text(lines)


def interval_of(record: Record, corruption: str, severity: str) -> tuple[float, float] | None:
    """Returns the interval of an accuracy in percent, None if there is none."""
    pair = (record.get("intervals") or {}).get(corruption, {}).get(severity)
    return None if pair is None else (pair[0], pair[1])
