"""A figure of where noise changes the feature maps of networks; records are those of `study_features`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from bnnjax.report.robustness.tables import spoken
from bnnjax.report.style.formatting import count_text, finite, number_text, shortened, value_text
from bnnjax.report.style.theme import (
    LIGHT,
    SMALL_POINTS,
    TEXT_POINTS,
    Theme,
    color_bar,
    legend_below,
    new_figure,
    series_style,
    style_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Record = Mapping[str, Any]

LARGE_MAPS, SMALL_MAPS = 5, 7  # units whose maps are shown
FEW_RUNS = 4  # up to so many runs have large maps; more runs have smaller maps, of more units


def names_of_units(records: Sequence[Record]) -> list[str]:
    """Returns the units of all records, in the order of the network."""
    return list(dict.fromkeys(name for record in records for name in record["units"]))


def shown_units(names: Sequence[str], most: int) -> list[str]:
    """Returns the first and last names and evenly spaced ones between them, at most `most`."""
    places = np.linspace(0, len(names) - 1, min(most, len(names)))
    return [names[round(place)] for place in places]


def run_names(records: Sequence[Record]) -> list[str]:
    """Returns the names of the records: their labels, with the noise if the records differ in it."""
    noises = [f"{spoken(record['corruption'])} {record['severity']}" for record in records]
    if len(set(noises)) == 1:
        return [record["label"] for record in records]
    return [f"{record['label']}, {noise}" for record, noise in zip(records, noises, strict=True)]


def feature_study_figure(records: Sequence[Record], *, theme: Theme = LIGHT) -> Figure:
    """Draws maps of the relative change of a few units' inputs, and the share of flips of all units.

    There is a row of maps per run, all on one colour scale, and below them a line per run.

    Args:
      records: one per run; units are aligned by their names.
      theme: colours.

    Raises:
      ValueError: there is no record, or none has a unit.
    """
    names = names_of_units(records)
    if not names:
        raise ValueError(
            f"a feature study needs records with units, got {count_text(len(records), 'record')}"
        )
    few = len(records) <= FEW_RUNS
    shown, called = shown_units(names, LARGE_MAPS if few else SMALL_MAPS), run_names(records)
    side = 1.45 if few else 0.86  # inches
    heights = (0.6 + side * len(records), 3.3 + 0.2 * -(-len(records) // 3))
    figure = new_figure(sum(heights), theme)
    top, bottom = figure.subfigures(2, 1, height_ratios=heights)  # type: ignore[misc]
    for part in (top, bottom):
        part.set_facecolor(theme.paper)

    grid = top.subplots(len(records), len(shown), squeeze=False)
    maps = [[_map(record, name) for name in shown] for record in records]
    values = np.concatenate([own.ravel() for row in maps for own in row if own is not None] or [np.ones(1)])
    high = float(values[np.isfinite(values)].max(initial=0.0)) or 1.0
    image = None
    for row, name_of_run in enumerate(called):
        for column, unit in enumerate(shown):
            axes = grid[row, column]
            own = maps[row][column]
            style_axes(axes, theme, grid="")
            axes.set(xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set_visible(False)
            if row == 0:
                axes.set_title(unit.replace("/", "/\n"), loc="left", fontsize=SMALL_POINTS, color=theme.ink)
            if column == 0:
                words = "\n".join(wrap(name_of_run, 18, max_lines=3))
                axes.set_ylabel(
                    words, rotation=0, ha="right", va="center", fontsize=SMALL_POINTS, color=theme.ink
                )
            if own is None:
                axes.text(
                    0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center", color=theme.muted,
                    fontsize=SMALL_POINTS,
                )  # fmt: skip
                continue
            image = axes.imshow(own, cmap=theme.map, vmin=0, vmax=high, interpolation="nearest")
    if image is not None:
        color_bar(top, image, list(grid.flat), "relative change", theme)

    _flips(bottom.subplots(), records, called, names, theme)
    legend_below(bottom, bottom.axes[0], theme, ncols=3)
    return figure


def _map(record: Record, unit: str) -> np.ndarray | None:
    relative = record["units"].get(unit, {}).get("relative_difference")
    return None if relative is None else np.asarray(relative, float)


def _flips(
    axes: Axes, records: Sequence[Record], called: Sequence[str], names: Sequence[str], theme: Theme
) -> None:
    """Draws the share of flips per unit, with a line per run."""
    style_axes(axes, theme, title="Signs that flip in each unit", y="percent")
    for number, (record, name) in enumerate(zip(records, called, strict=True)):
        found = [finite(record["units"].get(unit, {}).get("flips_percent")) for unit in names]
        if any(value is not None for value in found):
            y = [math.nan if value is None else value for value in found]
            axes.plot(
                range(len(names)), y, linewidth=1.6, marker="o", markersize=3.5, label=shortened(name, 48),
                **series_style(number, theme),
            )  # fmt: skip
    if not axes.lines:
        axes.text(
            0.5, 0.5, "no signs in these networks", transform=axes.transAxes, ha="center", color=theme.muted
        )
        axes.set_yticks([])
    else:
        axes.set_ylim(bottom=0)
    rotated: dict[str, Any] = {} if len(names) <= 6 else {"rotation": 40, "ha": "right"}
    axes.set_xticks(
        range(len(names)), [shortened(name, 24) for name in names], rotation_mode="anchor", **rotated
    )
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_xlabel("unit, in the order of the network", fontsize=TEXT_POINTS, color=theme.muted)


def feature_study_caption(records: Sequence[Record]) -> str:
    """Returns how to read the figure, and the mean share of flips of each run."""
    noises = value_text(
        list(
            dict.fromkeys(
                f"{spoken(record['corruption'])} of severity {record['severity']}" for record in records
            )
        )
    )
    shares = []
    for record, name in zip(records, run_names(records), strict=True):
        found = [
            value for unit in record["units"].values() if (value := finite(unit["flips_percent"])) is not None
        ]
        if found:
            shares.append(f"{name} {number_text(sum(found) / len(found), '.1f', '%')}")
    flips = f" Mean over units: {'; '.join(shares)}." if shares else ""
    images = count_text(records[0]["images"], "image")
    return (
        f"How {noises} changes what a unit gets before it takes signs, on {images}: at each position the "
        "mean change over images and channels, in parts of the unit's mean input, so that small activations "
        f"alone do not look robust. Below, the share of signs that become the opposite.{flips}"
    )
