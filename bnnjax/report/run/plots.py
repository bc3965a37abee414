"""Plots of numbers: training curves and the bound of each unit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bnnjax.report.style.formatting import as_float, finite, shortened
from bnnjax.report.style.theme import LIGHT, SMALL_POINTS, Theme, add_legend, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def curves(
    metrics: Sequence[Mapping[str, Any]], *, best_epoch: int | None = None, theme: Theme = LIGHT
) -> Figure:
    """Draws the course of training, six panels over epochs.

    Args:
      metrics: the records of metrics.jsonl; a panel whose keys no record has says so.
      best_epoch: marked in the panel of accuracy.
      theme: colours.

    Returns:
      The figure. Values that are not finite are gaps in the line, with a cross on the axis.
    """
    figure = new_figure(9.0, theme)
    accuracy, loss, penalty, bound, rate, speed = figure.subplots(3, 2).flat

    style_axes(accuracy, theme, title="Accuracy", y="percent")
    if best_epoch is not None:
        accuracy.axvline(
            best_epoch, color=theme.muted, linewidth=1, linestyle=":", label=f"best epoch ({best_epoch})"
        )
    _line(accuracy, metrics, "train_accuracy", "training", theme, theme.second, "--")
    _line(accuracy, metrics, "validation_accuracy", "validation", theme, theme.first, "-")

    style_axes(loss, theme, title="Loss", y="mean per image")
    _line(loss, metrics, "loss", "training, with penalty", theme, theme.second, "--")
    _line(loss, metrics, "task_loss", "training, task only", theme, theme.third, "-.")
    _line(loss, metrics, "validation_loss", "validation", theme, theme.first, "-")

    style_axes(penalty, theme, title="Penalty", y="added to the loss")
    if any(as_float(record.get("penalty")) not in (None, 0.0) for record in metrics):
        _line(penalty, metrics, "penalty", None, theme, theme.second, "-")

    style_axes(bound, theme, title="Log Lipschitz bound of the surrogate", y="nats")
    _line(bound, metrics, "log_lipschitz_bound", None, theme, theme.first, "-")
    _shade_units_off(bound, metrics, theme)

    style_axes(rate, theme, title="Learning rate", x="epoch", y="learning rate")
    _line(rate, metrics, "learning_rate", None, theme, theme.first, "-")
    rates = [value for record in metrics if (value := finite(record.get("learning_rate"))) is not None]
    # A staircase is readable on a log axis, a smooth decay to almost zero on a linear one.
    if rates and min(rates) > 0 and max(rates) >= 10 * min(rates) and len(set(rates)) <= 8:
        rate.set_yscale("log")

    style_axes(speed, theme, title="Speed", x="epoch", y="images/s")
    _line(speed, metrics, "images_per_second", None, theme, theme.first, "-")

    for axes in (accuracy, loss, penalty, bound, rate, speed):
        _epoch_axis(axes, metrics)
        if not axes.lines:
            axes.text(0.5, 0.5, "none in this run", transform=axes.transAxes, ha="center", color=theme.muted)
            axes.set_yticks([])
        add_legend(axes, theme)
    for axes in (rate, speed):
        if axes.get_yscale() == "linear" and axes.lines:
            axes.set_ylim(0, 1.12 * axes.dataLim.ymax or 1.0)
    return figure


def bounds(units: Sequence[Mapping[str, Any]], *, theme: Theme = LIGHT) -> Figure:
    """Draws the norm of every unit beside the bound from its spectral norm, and their ratio.

    Args:
      units: one mapping per unit, in the order of the network.
      theme: colours.

    Returns:
      The figure, with one row per unit; a dead unit gets a word instead of a bar.
    """
    rows = np.arange(len(units))
    figure = new_figure(1.5 + 0.24 * max(len(units), 4), theme)
    norms, ratios = figure.subplots(1, 2, sharey=True, width_ratios=(2.1, 1))
    style_axes(norms, theme, title="Norm of each unit", x="norm, log scale", grid="x")
    style_axes(ratios, theme, title="Tightness", x="L1,inf norm / spectral bound", grid="x")

    off = np.array([bool(unit.get("off")) for unit in units], dtype=bool)
    binary = np.array([unit.get("kind", "binary") == "binary" for unit in units], dtype=bool)
    l1inf, spectral, spectral_bound, tightness = (
        _values(units, key) for key in ("l1inf", "spectral", "spectral_bound", "tightness")
    )
    left, right = _log_limits(np.concatenate([l1inf[~off], spectral[~off], spectral_bound[~off]]))
    _log_axis(norms, left, right)
    for mask, color, name in ((binary, theme.first, "binary"), (~binary, theme.third, "full precision")):
        shown = mask & ~off & (l1inf > 0)
        if shown.any():
            norms.barh(
                rows[shown],
                l1inf[shown] - left,
                left=left,
                height=0.62,
                color=color,
                label=f"L1,inf norm, {name}",
            )
        ratios.barh(rows[mask & ~off], tightness[mask & ~off], height=0.62, color=color)
    ratios.barh(rows[off], tightness[off], height=0.62, color=theme.grid)
    drawn = ~off
    norms.hlines(rows[drawn], l1inf[drawn], spectral_bound[drawn], color=theme.muted, linewidth=1, zorder=1.5)
    norms.plot(
        spectral_bound[drawn], rows[drawn], "|", color=theme.second, markersize=9, markeredgewidth=2.4,
        label="spectral bound: sqrt(fan-in) x spectral norm", linestyle="none",
    )  # fmt: skip
    norms.plot(
        spectral[drawn], rows[drawn], "D", color=theme.paper, markeredgecolor=theme.ink, markersize=4.5,
        label="spectral norm", linestyle="none",
    )  # fmt: skip
    for row, unit in zip(rows, units, strict=True):
        word = _unit_word(unit)
        if word:
            norms.annotate(
                word, (0, row), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
                va="center", color=theme.second, fontsize=SMALL_POINTS,
            )  # fmt: skip
    ratios.axvline(1.0, color=theme.muted, linewidth=1, linestyle="--")
    ratios.set_xlim(0, max(1.05, 1.05 * np.nanmax(tightness, initial=0.0)))
    norms.set_yticks(
        rows, [shortened(str(unit.get("unit", row)), 30) for row, unit in zip(rows, units, strict=True)]
    )
    norms.set_ylim(len(units) - 0.4, -0.6)
    for label, is_off in zip(norms.get_yticklabels(), off, strict=True):
        label.set_color(theme.second if is_off else theme.ink)
    handles, labels = norms.get_legend_handles_labels()
    if handles:
        legend = figure.legend(
            handles, labels, loc="outside upper left", ncols=2, fontsize=SMALL_POINTS, labelcolor=theme.ink
        )
        legend.get_frame().set(facecolor=theme.paper, edgecolor=theme.grid)
    return figure


def _unit_word(unit: Mapping[str, Any]) -> str:
    norm = as_float(unit.get("l1inf"))
    if norm is None:
        return "dead" if unit.get("off") else "no norm recorded"
    if not math.isfinite(norm):
        return "norm not finite"
    return f"dead (norm {norm:.1g})" if unit.get("off") else ""


def _series(metrics: Sequence[Mapping[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the epochs that have the key, and its values with NaN where they are not finite."""
    having = [(index, record) for index, record in enumerate(metrics, start=1) if key in record]
    epochs = np.array([finite(record.get("epoch")) or index for index, record in having], dtype=float)
    return epochs, _values([record for _, record in having], key)


def _values(records: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    """Returns one float per record, NaN where the value is missing or not finite."""
    numbers = [finite(record.get(key)) for record in records]
    return np.array([math.nan if number is None else number for number in numbers], dtype=float)


def _line(
    axes: Axes,
    metrics: Sequence[Mapping[str, Any]],
    key: str,
    label: str | None,
    theme: Theme,
    color: str,
    linestyle: str,
) -> None:
    epochs, values = _series(metrics, key)
    if not epochs.size:
        return
    # One point makes no line, and a few dozen points are worth marking.
    marker = "o" if epochs.size <= 40 else ""
    axes.plot(
        epochs,
        values,
        color=color,
        linestyle=linestyle,
        linewidth=1.8,
        marker=marker,
        markersize=3.5,
        label=label,
    )
    broken = epochs[~np.isfinite(values)]
    if broken.size:
        named = "not finite" in axes.get_legend_handles_labels()[1]
        axes.plot(
            broken, np.full(broken.shape, 0.03), "x", color=theme.ink, markersize=5, clip_on=False,
            transform=axes.get_xaxis_transform(), label="_not finite" if named else "not finite",
        )  # fmt: skip


def _epoch_axis(axes: Axes, metrics: Sequence[Mapping[str, Any]]) -> None:
    from matplotlib.ticker import MaxNLocator

    epochs = [finite(record.get("epoch")) or index for index, record in enumerate(metrics, start=1)] or [1.0]
    margin = max(0.5, 0.02 * (max(epochs) - min(epochs)))
    axes.set_xlim(min(epochs) - margin, max(epochs) + margin)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def _shade_units_off(axes: Axes, metrics: Sequence[Mapping[str, Any]], theme: Theme) -> None:
    epochs = [
        finite(record.get("epoch")) or index
        for index, record in enumerate(metrics, start=1)
        if (finite(record.get("units_off")) or 0) > 0
    ]
    label = "some units are dead"
    while epochs:
        length = 1
        while length < len(epochs) and epochs[length] == epochs[length - 1] + 1:
            length += 1
        axes.axvspan(
            epochs[0] - 0.5, epochs[length - 1] + 0.5, color=theme.second, alpha=0.18, lw=0, label=label
        )
        epochs, label = epochs[length:], "_once in the legend is enough"


def _log_axis(axes: Axes, left: float, right: float) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.set_xlim(left, right)
    # With powers of ten only, a short axis has one number or none.
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if right < 1e3 * left else (1.0,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _log_limits(values: np.ndarray) -> tuple[float, float]:
    """Returns limits of a log axis around the positive values, with a margin on both sides."""
    positive = values[np.isfinite(values) & (values > 0)]
    if not positive.size:
        return 0.1, 10.0
    return float(positive.min()) / 1.8, float(positive.max()) * 1.5
