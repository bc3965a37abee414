"""The page of a run: report.html, self-contained, and its plots as PNGs beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from bnnjax.report.robustness.examples import Corrupted
from bnnjax.report.robustness.section import noise_drawings, robustness_section
from bnnjax.report.run import captions
from bnnjax.report.run.console import result_rows
from bnnjax.report.run.pictures import Examples, confusion_matrix, worst_examples
from bnnjax.report.run.plots import bounds, curves
from bnnjax.report.style import page
from bnnjax.report.style.formatting import MISSING, tightness_range
from bnnjax.report.style.plots import Drawing, Plot
from bnnjax.runtime.files import write_bytes_atomically, write_text_atomically

MOST_EXAMPLES = 24


def draw_plots(
    *,
    metrics: Sequence[Mapping[str, Any]],
    best_epoch: int | None,
    units: Sequence[Mapping[str, Any]],
    examples: Examples | None,
    confusion: np.ndarray | None,
) -> dict[str, Plot]:
    """Returns the plots of a run by file, except those of its accuracy under noise.

    Args:
      metrics: the records of metrics.jsonl.
      best_epoch: marked in the curves; None marks nothing.
      units: one mapping per unit, in the order of the network.
      examples: test images with the highest loss; None leaves the plot out.
      confusion: counts [true class, predicted class]; None leaves the plot out.

    Raises:
      ValueError: examples or confusion have a shape that cannot be drawn.
    """
    names = examples.class_names if examples is not None else ()
    plots: dict[str, Drawing] = {}
    if metrics:
        plots["curves.png"] = Drawing(
            "Training",
            captions.curves_caption(metrics),
            lambda theme: curves(metrics, best_epoch=best_epoch, theme=theme),
        )
    if units:
        plots["bounds.png"] = Drawing(
            "Bound of each unit",
            captions.bounds_caption(units),
            lambda theme: bounds(units, theme=theme),
        )
    if examples is not None and len(examples.images):
        shown = min(len(examples.images), MOST_EXAMPLES)
        plots["examples.png"] = Drawing(
            "Worst examples",
            captions.examples_caption(shown),
            lambda theme: worst_examples(examples, most=shown, theme=theme),
        )
    if confusion is not None:
        plots["confusion.png"] = Drawing(
            "Confusion",
            captions.confusion_caption(confusion, names),
            lambda theme: confusion_matrix(confusion, names, theme=theme),
        )
    return {name: plot.drawn() for name, plot in plots.items()}


def draw_noise_plots(robustness: Mapping[str, Any], corrupted: Corrupted | None) -> dict[str, Plot]:
    """Returns the plots of a run's accuracy under noise by file; arguments and errors of `noise_drawings`."""
    return {name: plot.drawn() for name, plot in noise_drawings(robustness, corrupted).items()}


def write_report(
    workdir: Path | str,
    plots: Mapping[str, Plot],
    *,
    config: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    units: Sequence[Mapping[str, Any]],
    robustness: Mapping[str, Any] | None = None,
) -> Path:
    """Writes report.html and its plots into a run directory, each file whole or not at all.

    Args:
      workdir: the run directory; made if it is missing.
      plots: from `draw_plots` and `draw_noise_plots`, by file, in the order of the page.
      config: the resolved configuration, nested.
      metrics: the records of metrics.jsonl.
      summary: the flat content of summary.json; missing keys show as a dash, unknown ones are listed.
      units: one mapping per unit, in the order of the network.
      robustness: accuracies under noise, a record as `bnnjax.report.robustness.tables` describes it; None
        leaves them out.

    Returns:
      The path of report.html.

    Raises:
      ValueError: as `robustness_section`; nothing is written.
      OSError: writing failed.
    """
    noise = None if robustness is None else robustness_section(robustness)
    sections = [_head(summary, metrics, units, noise.strip if noise else [])]
    for name, plot in plots.items():
        sections.append(f"<section><h2>{escape(plot.title)}</h2>{page.picture(plot)}")
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
        write_bytes_atomically(folder / name, plot.light)
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
