"""The page of a run: report.html, whole in one file, and its plots as files beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bnnjax.report.robustness.examples import Corrupted
from bnnjax.report.robustness.section import robustness_section
from bnnjax.report.run import captions
from bnnjax.report.run.console import result_rows
from bnnjax.report.run.pictures import Examples, confusion_matrix, worst_examples
from bnnjax.report.run.plots import bounds, curves
from bnnjax.report.style import page
from bnnjax.report.style.formatting import MISSING, finite, tightness_range
from bnnjax.report.style.theme import DARK, LIGHT, Theme, png_bytes
from bnnjax.runtime.files import write_bytes_atomically, write_text_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_EXAMPLES = 24


class Plot(NamedTuple):
    """A plot of the page, drawn for light and for dark paper."""

    title: str
    caption: str
    images: tuple[bytes, bytes]  # PNG


Drawings = Mapping[str, tuple[str, str, Callable[[Theme], "Figure"]]]  # by file: title, caption, drawing


def draw_plots(
    *,
    metrics: Sequence[Mapping[str, Any]],
    best_epoch: int | None,
    units: Sequence[Mapping[str, Any]],
    examples: Examples | None,
    confusion: np.ndarray | None,
) -> dict[str, Plot]:
    """Returns the plots of a run by file, but for those of its noise; the arguments are `write_report`'s.

    Raises:
      ValueError: examples or confusion have a shape that cannot be drawn.
    """
    names = examples.class_names if examples is not None else ()
    plots: dict[str, tuple[str, str, Callable[[Theme], Figure]]] = {}
    if metrics:
        plots["curves.png"] = (
            "Training",
            captions.curves_caption(metrics),
            lambda theme: curves(metrics, best_epoch=best_epoch, theme=theme),
        )
    if units:
        plots["bounds.png"] = (
            "Bound of each unit",
            captions.bounds_caption(units),
            lambda theme: bounds(units, theme=theme),
        )
    if examples is not None and len(examples.images):
        shown = min(len(examples.images), MOST_EXAMPLES)
        plots["examples.png"] = (
            "Worst examples",
            captions.examples_caption(shown),
            lambda theme: worst_examples(examples, most=shown, theme=theme),
        )
    if confusion is not None:
        plots["confusion.png"] = (
            "Confusion",
            captions.confusion_caption(confusion, names),
            lambda theme: confusion_matrix(confusion, names, theme=theme),
        )
    return _drawn(plots)


def _drawn(drawings: Drawings) -> dict[str, Plot]:
    return {
        name: Plot(title, caption, (png_bytes(draw(LIGHT)), png_bytes(draw(DARK))))
        for name, (title, caption, draw) in drawings.items()
    }


def write_report(
    workdir: Path | str,
    *,
    config: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    units: Sequence[Mapping[str, Any]],
    examples: Examples | None,
    confusion: np.ndarray | None,
    robustness: Mapping[str, Any] | None = None,
    corrupted: Corrupted | None = None,
    plots: Mapping[str, Plot] | None = None,
) -> Path:
    """Writes report.html and its plots into a run directory, each file whole or not at all.

    Args:
      workdir: the run directory; made if it is missing.
      config: the resolved configuration, nested.
      metrics: the records of metrics.jsonl.
      summary: the flat content of summary.json; keys it lacks show as a dash, keys nobody knows are listed.
      units: one mapping a unit, in the order of the network.
      examples: test images with the highest loss; None leaves the section out.
      confusion: counts [true class, predicted class]; None leaves the section out.
      robustness: accuracies under noise, a record as `bnnjax.report.robustness.tables` describes it; None
        leaves the section out.
      corrupted: an image by corruption and severity to go with it, as `corruption_examples` takes them.
      plots: what `draw_plots` made of metrics, units, examples and confusion, if it was called before.

    Returns:
      The path of report.html.

    Raises:
      ValueError: examples, confusion or corrupted have a shape that cannot be drawn; nothing is written.
      OSError: writing failed.
    """
    # Everything is drawn before anything is written: a plot that fails leaves no half of a report.
    if plots is None:
        best = finite(summary.get("best_epoch"))
        plots = draw_plots(
            metrics=metrics,
            best_epoch=None if best is None else int(best),
            units=units,
            examples=examples,
            confusion=confusion,
        )
    noise = None if robustness is None else robustness_section(robustness, corrupted)
    plots = {**plots, **(_drawn(noise.plots) if noise else {})}
    sections = [_head(summary, metrics, units, noise.strip if noise else [])]
    for name, (title, caption, images) in plots.items():
        sections.append(f"<section><h2>{escape(title)}</h2>{page.picture(*images, title, caption)}")
        if name == "bounds.png":
            sections.append(f"<p>{escape(captions.SURROGATE)}</p>")
            table = page.numbers_table(
                captions.UNIT_HEADER, captions.unit_rows(units), [bool(unit.get("off")) for unit in units]
            )
            sections.append(f"<details><summary>Table of units</summary>{table}</details>")
        if name == "noise.png" and noise:
            sections.append(page.pairs_table(noise.rows))
        sections.append("</section>")
    sections.append(_provenance(config, summary))

    folder = Path(workdir)
    for name, plot in plots.items():
        write_bytes_atomically(folder / name, plot.images[0])
    title = " ".join(str(summary[key]) for key in ("model", "method", "dataset") if summary.get(key))
    write_text_atomically(folder / "report.html", page.page(title or "bnnjax run", "\n".join(sections)))
    return folder / "report.html"


def _head(
    summary: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
    units: Sequence[Mapping[str, Any]],
    more: Sequence[tuple[str, str]],
) -> str:
    rows = dict(result_rows(summary, units))
    ratios = tightness_range(units)
    strip = [
        ("test accuracy", rows["test accuracy"]),
        ("validation accuracy", rows["validation accuracy"]),
        ("log Lipschitz bound", rows["log Lipschitz bound (surrogate)"]),
        ("tightness, median", f"{ratios[0]:.2f} (max {ratios[1]:.2f})" if ratios else MISSING),
        ("dead units", rows["dead units"]),
        ("training time", rows["training time"]),
        ("images/s in training", rows["images/s"]),
        ("parameters", rows["parameters"]),
        *more,
    ]
    run = ", ".join(
        f"{key} {summary[key]}" for key in ("model", "dataset", "epochs", "seed") if key in summary
    )
    parts = [
        "<header>",
        f'<p class="run">bnnjax run: {escape(run or MISSING)}</p>',
        f"<h1>{escape(captions.headline(summary))}</h1>",
        page.key_figures(strip),
    ]
    parts += [f'<p class="warning">{escape(text)}</p>' for text in captions.warnings(summary, metrics, units)]
    return "".join(parts) + "</header>"


def _provenance(config: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    versions = summary.get("versions")
    origin = {
        "git revision": summary.get("git_revision"),
        "devices": summary.get("devices"),
        "device kind": summary.get("device_kind"),
        "seed": summary.get("seed"),
        **(versions if isinstance(versions, Mapping) else {"versions": versions}),
    }
    command = summary.get("command")
    text = command if isinstance(command, str) else " ".join(map(str, command or [])) or MISSING
    results = {key: value for key, value in summary.items() if key not in ("command", "versions")}
    return (
        f"<section><h2>To repeat this run</h2><pre>{escape(text)}</pre>{page.pairs_table(origin)}</section>"
        f"<section><h2>Everything recorded</h2>{page.nested_details('All results (summary.json)', results)}"
        f"{page.nested_details('Resolved configuration (config.json)', config)}</section>"
    )
