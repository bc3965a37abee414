"""Figures of accuracy under noise; records are those of `bnnjax.report.robustness.tables`."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np

from bnnjax.report.robustness.tables import (
    Record,
    check_records,
    corruptions_of,
    group_of,
    interval_of,
    spoken,
)
from bnnjax.report.style.formatting import finite, number_text, shortened
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
    text_on,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

COLUMNS = 4  # panels per row
MOST_LYING = 3  # up to so many runs the map's corruptions go from left to right
MAP_COLUMNS = 6  # runs per row of the map, if there are more than MOST_LYING
PANEL_TITLE = TEXT_POINTS - 0.5


def accuracies(record: Record, corruption: str, severities: Sequence[str]) -> np.ndarray:
    """Returns a corruption's accuracies in percent, a float per severity, NaN where there is none."""
    own = record["accuracy"].get(corruption, {})
    numbers = [finite(own.get(severity)) for severity in severities]
    return np.array([math.nan if number is None else number for number in numbers])


def mean_accuracies(record: Record, names: Sequence[str], severities: Sequence[str]) -> np.ndarray:
    """Returns the mean over the named corruptions, NaN for a severity that one of them lacks."""
    return np.mean([accuracies(record, name, severities) for name in names], axis=0)


def severity_curves(records: Sequence[Record], *, theme: Theme = LIGHT) -> Figure:
    """Draws accuracy against severity: a panel for the mean, then a panel per corruption.

    There is a line per run, with its intervals as a faint band; severity 0 is without noise.

    Args:
      records: one per run.
      theme: colours.

    Raises:
      ValueError: as `check_records`.
    """
    check_records(records)
    names, severities = corruptions_of(records), list(records[0]["severities"])
    rows = -(-(len(names) + 1) // COLUMNS)
    columns = min(COLUMNS, len(names) + 1)
    figure = new_figure(0.5 + 1.62 * rows + 0.2 * -(-len(records) // 3), theme)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    x = [0.0, *map(float, severities)]
    for place, (axes, name) in enumerate(zip(grid.flat, [None, *names], strict=False)):
        title = f"mean of {len(records[0]['benchmark'])}" if name is None else spoken(name)
        if name is not None and name not in records[0]["benchmark"]:
            title += " (extra)"
        style_axes(axes, theme, title=title, y="percent" if place % columns == 0 else "")
        axes.title.set_visible(True)
        axes.set_title(title, loc="left", fontsize=PANEL_TITLE, color=theme.ink, fontweight="bold")
        for number, record in enumerate(records):
            style = series_style(number, theme)
            if name is None:
                values = mean_accuracies(record, record["benchmark"], severities)
            else:
                values = accuracies(record, name, severities)
                _band(axes, record, name, severities, style["color"])
            clean = finite(record["clean_accuracy"])
            y = [math.nan if clean is None else clean, *values]
            label = shortened(record["label"], 48)
            axes.plot(x, y, linewidth=1.4, marker="o", markersize=2.5, label=label, **style)
        # The last panel of a column may not be in the last row.
        if place + columns > len(names):
            axes.set_xlabel("severity", fontsize=TEXT_POINTS, color=theme.muted)
            axes.tick_params(labelbottom=True)
    grid[0, 0].set_xticks(x, [f"{value:g}" for value in x])
    for axes in grid.flat[len(names) + 1 :]:
        axes.set_visible(False)
    legend_below(figure, grid[0, 0], theme, ncols=3)
    return figure


def _band(axes: Axes, record: Record, name: str, severities: Sequence[str], color: str) -> None:
    pairs = [interval_of(record, name, severity) for severity in severities]
    low, high = ([math.nan if pair is None else pair[side] for pair in pairs] for side in (0, 1))
    if not np.isnan(low).all():
        axes.fill_between([float(s) for s in severities], low, high, color=color, alpha=0.15, linewidth=0)


def robustness_map(records: Sequence[Record], *, theme: Theme = LIGHT) -> Figure:
    """Draws accuracy as a map of corruption and severity, one panel per run, all on one colour scale.

    Up to three runs are below each other, with corruptions from left to right; more are side by side, with
    corruptions from top to bottom.

    Args:
      records: one per run.
      theme: colours.

    Raises:
      ValueError: as `check_records`.
    """
    check_records(records)
    names, severities = corruptions_of(records), list(records[0]["severities"])
    lying = len(records) <= MOST_LYING
    columns = 1 if lying else min(MAP_COLUMNS, len(records))
    rows = -(-len(records) // columns)
    if lying:
        height = 1.6 + rows * (0.35 + 0.26 * len(severities))
    else:
        height = 0.5 + rows * (0.65 + 0.19 * len(names))
    figure = new_figure(height, theme)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    limits = color_limits(records)
    image = None
    for axes, record in zip(grid.flat, records, strict=False):
        image = draw_map(axes, record, names, severities, limits, theme, lying=lying)
        title = record["label"] if lying else "\n".join(wrap(record["label"], 15, max_lines=3))
        axes.set_title(title, loc="left", fontsize=PANEL_TITLE if lying else SMALL_POINTS, color=theme.ink)
    for place, axes in enumerate(grid.flat):
        axes.set_visible(place < len(records))
        if not lying and place + columns >= len(records):
            axes.tick_params(labelbottom=True)
    grid[-1, 0].set_xlabel("" if lying else "severity", fontsize=TEXT_POINTS, color=theme.muted)
    if image is not None:
        color_bar(figure, image, list(grid.flat), "accuracy, percent", theme)
    return figure


def draw_map(
    axes: Axes,
    record: Record,
    names: Sequence[str],
    severities: Sequence[str],
    limits: tuple[float, float],
    theme: Theme,
    *,
    lying: bool,
) -> AxesImage:
    """Draws one run's map, its cells annotated in whole percent.

    Args:
      axes: to draw on.
      record: the run.
      names: the corruptions, in order.
      severities: as text, in order.
      limits: of the colour scale, percent.
      theme: colours.
      lying: whether corruptions go from left to right rather than from top to bottom.

    Returns:
      The image, for a colour bar.
    """
    style_axes(axes, theme, grid="")
    values = np.stack([accuracies(record, name, severities) for name in names])
    image = axes.imshow(
        values.T if lying else values, cmap=theme.map, vmin=limits[0], vmax=limits[1], aspect="auto",
        interpolation="nearest",
    )  # fmt: skip
    spoken_names = [spoken(name) + ("" if name in record["benchmark"] else " (extra)") for name in names]
    breaks = [at + 0.5 for at, pair in enumerate(pairwise(names)) if group_of(pair[0]) != group_of(pair[1])]
    if lying:
        axes.set_xticks(range(len(names)), spoken_names, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(severities)), severities)
        axes.set_ylabel("severity", fontsize=TEXT_POINTS, color=theme.muted)
    else:
        axes.set_yticks(range(len(names)), spoken_names)
        axes.set_xticks(range(len(severities)), severities)
    for at in breaks:
        (axes.axvline if lying else axes.axhline)(at, color=theme.paper, linewidth=3)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for (row, column), value in np.ndenumerate(values):
        if math.isfinite(value):
            axes.text(
                *((row, column) if lying else (column, row)), f"{value:.0f}", ha="center", va="center",
                fontsize=SMALL_POINTS - (0 if lying else 1), color=text_on(image.cmap(image.norm(value))),
            )  # fmt: skip
    return image


def curves_caption(records: Sequence[Record]) -> str:
    """Returns how to read the curves, and which run keeps the highest accuracy."""
    banded = any(record.get("intervals") for record in records)
    many = "One line per run" if len(records) > 1 else "The line"
    means = {
        record["label"]: mean
        for record in records
        if (mean := finite(record["mean_corruption_accuracy"])) is not None
    }
    best = max(means, key=lambda label: means[label], default=None)
    keeps = f" {best} keeps the most, {number_text(means[best], '.1f', '%')} on average." if best else ""
    return (
        f"{many}, from the accuracy without noise (0) to the strongest noise: the flatter, the more robust. "
        + ("Bands are intervals of the measured accuracies. " if banded else "")
        + "Panels marked extra do not enter the means."
        + (keeps if len(records) > 1 else "")
    )


def map_caption(records: Sequence[Record]) -> str:
    """Returns how to read the map, and the corruption that is hardest on average over all runs."""
    names, severities = corruptions_of(records), list(records[0]["severities"])
    low = {}
    for name in names:
        values = np.concatenate([accuracies(record, name, severities) for record in records])
        if np.isfinite(values).any():
            low[name] = statistics.mean(values[np.isfinite(values)])
    hardest = min(low, key=lambda name: low[name], default=None)
    over = f" over {len(records)} runs" if len(records) > 1 else ""
    said = (
        f" Hardest is {spoken(hardest)}, {number_text(low[hardest], '.1f', '%')} on average{over}."
        if hardest
        else ""
    )
    return f"Accuracy in whole percent by corruption and severity, all on one colour scale.{said}"


def color_limits(records: Sequence[Record]) -> tuple[float, float]:
    """Returns the lowest and the highest accuracy of the records, 0 and 100 if there is none."""
    found = [finite(v) for r in records for each in r["accuracy"].values() for v in each.values()]
    numbers = [number for number in found if number is not None] or [0.0, 100.0]
    return min(numbers), max(numbers)
