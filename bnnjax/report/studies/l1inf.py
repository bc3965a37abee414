"""Markdown, CSV and a figure of the L1,inf study: the effects of the constraint at several strengths.

A record describes one setting: `name`, `form` (none, soft or hard), `target`, `amount` (strength or radius),
`diverged` (how many runs ended because their loss was not finite), and for each finished run its summary.json
in `summaries` and in `noise` its accuracies under noise: `severities`, and for `validation` and `test` the
percentages by corruption and severity.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bnnjax.report.style.formatting import (
    csv_text,
    markdown_table,
    number_text,
    spread,
    spread_text,
    value_text,
)
from bnnjax.report.style.theme import LIGHT, Theme, legend_below, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Record = Mapping[str, Any]

MARKERS = "os^D"


def under_noise(noise: Record, split: str, corruption: str | None = None) -> float:
    """Returns a run's mean accuracy over severities, and over all corruptions if none is named."""
    chosen = [corruption] if corruption else noise[split]
    return statistics.mean(value for name in chosen for value in noise[split][name].values())


def figures_of(record: Record) -> dict[str, list[float]]:
    """Returns a setting's figures, an entry per run: accuracies in percent, bound in nats, dead units."""
    summaries, noises = record["summaries"], record["noise"]
    corruptions = list(noises[0]["test"]) if noises else []
    return {
        "validation": [summary["validation_accuracy"] for summary in summaries],
        "validation_noise": [under_noise(noise, "validation") for noise in noises],
        "test": [summary["test_accuracy"] for summary in summaries],
        "test_noise": [under_noise(noise, "test") for noise in noises],
        **{name: [under_noise(noise, "test", name) for noise in noises] for name in corruptions},
        "log_bound": [summary["log_lipschitz_bound"] for summary in summaries],
        "units_off": [summary["units_off"] for summary in summaries],
    }


HEADINGS = {
    "validation": "validation, %",
    "validation_noise": "validation under noise, %",
    "test": "test, %",
    "test_noise": "test under noise, %",
    "log_bound": "log bound, nats",
    "units_off": "dead units",
}


def constraint_study_table(records: Sequence[Record]) -> str:
    """Returns the table in Markdown: mean and deviation over runs."""
    rows = [figures_of(record) for record in records]
    columns = max(rows, key=len)
    heading = ["setting", "runs", *(HEADINGS.get(name, name.replace("_", " ")) for name in columns)]
    cells = [
        [
            record["name"],
            str(len(record["summaries"]))
            + (f", {record['diverged']} diverged" if record["diverged"] else ""),
            *(spread_text(*spread(row.get(name, []))) for name in columns),
        ]
        for record, row in zip(records, rows, strict=True)
    ]
    return markdown_table(heading, cells)


def best_strength(records: Sequence[Record]) -> Record | None:
    """Returns the soft folded setting with the highest validation accuracy under noise, if any ran."""
    candidates = [
        record
        for record in records
        if (record["form"], record["target"]) == ("soft", "folded") and record["noise"]
    ]
    return max(candidates, key=lambda r: statistics.mean(figures_of(r)["validation_noise"]), default=None)


def constraint_study_page(title: str, command: str, records: Sequence[Record]) -> str:
    """Returns a Markdown page: title, command, table, and what a reader must know of it."""
    noise = next((one for record in records for one in record["noise"]), None)
    summary = next((one for record in records for one in record["summaries"]), None)
    notes = ["Mean \N{PLUS-MINUS SIGN} sample standard deviation over seeds."]
    if noise is not None and summary is not None:
        notes += [
            f"Noise: {', '.join(name.replace('_', ' ') for name in noise['test'])}, mean over severities "
            f"{value_text(noise['severities'])} of CIFAR-10-C, on {noise['images']['validation']} validation "
            f"and {noise['images']['test']} test images, the same for all networks.",
            f"{summary['epochs']} epochs of {summary['train_examples']:,} images, batch "
            f"{summary['batch_size']}, learning rate {value_text(summary['learning_rate'])}, revision "
            f"{value_text(summary.get('git_revision'))}.",
        ]
    best = best_strength(records)
    if best is not None:
        accuracy = statistics.mean(figures_of(best)["validation_noise"])
        notes.append(
            f"Of the soft folded settings {best['name']} has the highest validation accuracy under noise, "
            f"{number_text(accuracy)} %."
        )
    lines = "\n".join(f"- {note}" for note in notes)
    return f"# {title}\n\n    {command}\n\n{constraint_study_table(records)}\n{lines}\n"


def constraint_study_csv(records: Sequence[Record]) -> str:
    """Returns the figures as CSV, with a line per setting; missing figures are empty."""
    columns = max((figures_of(record) for record in records), key=len)
    lines = []
    for record in records:
        line = {name: record[name] for name in ("name", "form", "target", "amount", "diverged")}
        line["runs"] = len(record["summaries"])
        own = figures_of(record)
        for name in columns:
            line[f"{name}_mean"], line[f"{name}_std"] = spread(own.get(name, []))
        lines.append(line)
    return csv_text(lines)


def constraint_study_figure(records: Sequence[Record], *, theme: Theme = LIGHT) -> Figure:
    """Draws accuracy, accuracy under noise and the bound against the amount of the constraint.

    Above is the soft form, with a line per target; below the hard form.  Bars are deviations over seeds; the
    band is the result without a constraint.
    """
    figure = new_figure(6.4, theme)
    grid = figure.subplots(2, 3, sharey="col")
    panels = (
        ("test", "Test accuracy", "%"),
        ("test_noise", "Test accuracy under noise", "%"),
        ("log_bound", "Log bound", "nats"),
    )
    colors = [theme.first, theme.second, theme.third, theme.muted]
    for row, (form, x) in enumerate((("soft", "strength"), ("hard", "radius"))):
        for column, (key, title, unit) in enumerate(panels):
            axes = grid[row, column]
            style_axes(axes, theme, title=title if row == 0 else "", x=x, y=f"{form}: {unit}")
            axes.set_xscale("log")
            amounts = sorted({r["amount"] for r in records if r["form"] == form})
            axes.set_xticks(amounts, [f"{amount:g}" for amount in amounts])
            axes.minorticks_off()
            _band(axes, [r for r in records if r["form"] == "none"], key, theme)
            for number, target in enumerate(dict.fromkeys(r["target"] for r in records if r["form"] == form)):
                own = [r for r in records if (r["form"], r["target"]) == (form, target)]
                _line(axes, own, key, label=target, color=colors[number % 4], marker=MARKERS[number % 4])
    legend_below(figure, grid[0, 0], theme, ncols=4)
    return figure


def _band(axes: Axes, records: Sequence[Record], key: str, theme: Theme) -> None:
    for record in records:
        mean, deviation = spread(figures_of(record)[key])
        if mean is not None:
            axes.axhline(mean, color=theme.muted, linewidth=1, linestyle="--", label="no constraint")
            axes.axhspan(mean - (deviation or 0), mean + (deviation or 0), color=theme.muted, alpha=0.15)


def _line(axes: Axes, records: Sequence[Record], key: str, **style: Any) -> None:
    points = [
        (record["amount"], mean, deviation or 0)
        for record in records
        for mean, deviation in [spread(figures_of(record)[key])]
        if mean is not None
    ]
    if points:
        amounts, means, deviations = zip(*points, strict=True)
        axes.errorbar(amounts, means, deviations, linewidth=1.2, markersize=5, capsize=2, **style)
