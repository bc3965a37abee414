"""Tables and a figure of trained networks' bounds; records are those of `bnnjax.studies.bounds`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnnjax.report.style.formatting import number_text, shortened
from bnnjax.report.style.table import plain_table
from bnnjax.report.style.theme import LIGHT, Theme, legend_below, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

Record = Mapping[str, Any]

MARKERS = "os^Dv<>P*X"
UPPER, SPECTRAL, EMPIRICAL = "L1,inf bound", "spectral bound", "largest movement found"


def label(record: Record) -> str:
    """Returns the name of a run in a figure: its constraint and its directory's name."""
    return f"{record['constraint']} ({shortened(Path(record['run']).name, 44)})"


def bound_tables(record: Record) -> list[Table]:
    """Returns the tables of one run: its units, its residual blocks if it has any, and the whole network."""
    units = [
        [
            unit["unit"],
            *(number_text(unit[key], ".4g") for key in ("l1inf", "spectral", "spectral_bound")),
            number_text(unit["tightness"], ".3f"),
            *(
                number_text(record["retention"].get(unit["unit"], {}).get(side), ".4g")
                for side in ("inputs", "codes")
            ),
        ]
        for unit in record["units"]
    ]
    blocks = [
        [
            block["block"],
            *(number_text(block[key], ".2f") for key in ("log_branch", "log_shortcut", "log_block")),
            number_text(block["log_block"] - block["log_branch"], ".2f"),
        ]
        for block in record["blocks"]
    ]
    columns = (
        "unit",
        "L1,inf",
        "spectral",
        "sqrt(fan-in) x spectral",
        "tightness",
        "retention, before sign",
        "after",
    )
    tables = [plain_table(f"Units of {record['run']}", columns, units)]
    if blocks:
        parts = ("block that ends with", "branch", "shortcut", "block", "shortcut adds")
        tables.append(plain_table("Residual blocks, log bounds in nats", parts, blocks))
    return [*tables, bound_comparison([record])]


def bound_comparison(records: Sequence[Record]) -> Table:
    """Returns a table with a row per run: log bounds of the whole network in nats."""
    columns = [
        "network",
        "L1,inf",
        "spectral",
        "tightness",
        "retention",
        *(f"moved, {size}" for size in records[0]["log_empirical"]),
    ]
    keys = ("log_bound", "log_spectral_bound", "median_tightness", "log_retention")
    rows = [
        [
            shortened(Path(record["run"]).name, 44),
            *(number_text(record[key], ".2f") for key in keys),
            *(number_text(value, ".2f") for value in record["log_empirical"].values()),
        ]
        for record in records
    ]
    return plain_table(
        "Networks, log bounds in nats; retention is not a bound; moved: the most found, by size of noise",
        columns,
        rows,
    )


def bounds_side_by_side(records: Sequence[Record], *, theme: Theme = LIGHT) -> Figure:
    """Draws the bounds of several runs: of the whole networks above, of their units below.

    Args:
      records: one per run; units are aligned by their names.
      theme: colours.
    """
    names = list(dict.fromkeys(unit["unit"] for record in records for unit in record["units"]))
    figure = new_figure(3.4 + 0.42 * len(records) + 0.24 * len(names), theme)
    heights = (1.2 + 0.42 * len(records), 2.2 + 0.24 * len(names))
    top, bottom = figure.subfigures(2, 1, height_ratios=heights)  # type: ignore[misc]
    for part in (top, bottom):
        part.set_facecolor(theme.paper)
    network = top.subplots()
    norms, ratios, retention = bottom.subplots(1, 3, sharey=True, width_ratios=(1.6, 1, 1))
    colors = [theme.first, theme.second, theme.third, *(f"C{number}" for number in range(3, 10))]

    style_axes(network, theme, title="Whole network", x="log bound, nats", grid="x")
    for row, record in enumerate(records):
        color = colors[row % len(colors)]
        low = max(record["log_empirical"].values())
        network.hlines(row, low, record["log_spectral_bound"], color=theme.muted, linewidth=1)
        points = ((low, "|", EMPIRICAL), (record["log_bound"], "o", UPPER))
        for x, marker, name in (*points, (record["log_spectral_bound"], "D", SPECTRAL)):
            network.plot(
                x, row, marker, color=color, markersize=9, markeredgewidth=2 if marker == "|" else 1,
                markerfacecolor=theme.paper if marker == "D" else color, linestyle="none",
                label=name if row == 0 else None,
            )  # fmt: skip
    network.set_yticks(range(len(records)), [label(record) for record in records])
    network.set_ylim(len(records) - 0.4, -0.6)
    legend_below(top, network, theme, ncols=3)

    style_axes(norms, theme, title="L1,inf norm of each unit", x="norm, log scale")
    style_axes(ratios, theme, title="Tightness", x="L1,inf norm / spectral bound")
    style_axes(retention, theme, title="Retention estimate", x="sigma before sign, log scale")
    place = {name: row for row, name in enumerate(names)}
    for row, record in enumerate(records):
        own = [place[unit["unit"]] for unit in record["units"]]
        style = {
            "marker": MARKERS[row % len(MARKERS)], "color": colors[row % len(colors)], "linewidth": 1,
            "markersize": 5, "alpha": 0.85,
        }  # fmt: skip
        norms.plot([max(unit["l1inf"], 1e-6) for unit in record["units"]], own, label=label(record), **style)
        ratios.plot([unit["tightness"] for unit in record["units"]], own, **style)
        estimates = [(max(each["inputs"], 1e-6), place[unit]) for unit, each in record["retention"].items()]
        if estimates:
            retention.plot(*zip(*estimates, strict=True), **style)
    norms.set_xscale("log")
    retention.set_xscale("log")
    ratios.axvline(1.0, color=theme.muted, linewidth=1, linestyle="--")
    ratios.set_xlim(0, 1.05)
    norms.set_yticks(range(len(names)), [shortened(name, 30) for name in names])
    norms.set_ylim(len(names) - 0.4, -0.6)
    legend_below(bottom, norms, theme, ncols=1)
    return figure
