"""The page of a robustness evaluation: robustness.html, self-contained, and its figures as PNGs beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from bnnjax.report.robustness.examples import Corrupted, corrupted_caption, corruption_examples
from bnnjax.report.robustness.feature_maps import feature_study_caption, feature_study_figure
from bnnjax.report.robustness.plots import curves_caption, map_caption, robustness_map, severity_curves
from bnnjax.report.robustness.tables import (
    Cells,
    Record,
    baseline_text,
    check_records,
    group_cells,
    has_seeds,
    noise_text,
    robustness_cells,
    spoken,
    spread_cells,
    worst_corruptions,
)
from bnnjax.report.style import page
from bnnjax.report.style.formatting import MISSING, count_text, finite, number_text, value_text
from bnnjax.report.style.plots import Drawing
from bnnjax.runtime.files import write_bytes_atomically, write_text_atomically

MEANING = (
    "Under noise: mean accuracy over the corruptions of the benchmark and their severities, with its "
    "interval. mCE: errors over all severities divided by those of the baseline, mean over corruptions; "
    "below 100 is better than the baseline. Relative mCE: the same of the errors that noise adds. ECE: how "
    "far confidence is from accuracy. Flips: how often noise changes the prediction. Worst case: images "
    "that no attack of that size breaks, of those attacked. A dash: not measured."
)


def headline(records: Sequence[Record]) -> str:
    """Gives the result in one sentence."""
    noise = noise_text(records[0])
    means = [(mean, r) for r in records if (mean := finite(r["mean_corruption_accuracy"])) is not None]
    if not means:
        return f"No accuracy under noise was recorded ({noise})."
    mean, best = max(means, key=lambda pair: pair[0])
    figure = f"{number_text(mean, '.2f', '%')} mean accuracy under noise ({noise})"
    clean = number_text(best["clean_accuracy"], ".2f", "%")
    if len(records) == 1:
        return f"{best['label']} reaches {figure}, {clean} without."
    return f"Of {len(records)} runs {best['label']} keeps the most: {figure}, {clean} without."


def differences(records: Sequence[Record]) -> list[str]:
    """Returns sentences on what makes the runs hard to compare; none if nothing does."""
    found = []
    for key, what in (("examples", "numbers of images"), ("source", "sources of noise")):
        values = list(dict.fromkeys(str(record[key]) for record in records))
        if len(values) > 1:
            found.append(f"The runs were measured on different {what}: {'; '.join(values)}.")
    baselines = {record["baseline"] for record in records if record.get("baseline")}
    if len(baselines) > 1:
        found.append(f"mCE is against different baselines: {'; '.join(sorted(baselines))}.")
    return found


def write_robustness_page(
    folder: Path | str,
    records: Sequence[Record],
    examples_images: Corrupted | None = None,
    features: Sequence[Mapping[str, Any]] | None = None,
    attacks_html: str | None = None,
    *,
    command: str | Sequence[str] = "",
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Writes robustness.html and its figures into a folder, each file whole or not at all.

    Args:
      folder: made if it is missing.
      records: one per run, as `bnnjax.report.robustness.tables` describes them.
      examples_images: as `corruption_examples` takes them; None leaves the section out.
      features: the records of a feature study; None or an empty list leaves the section out.
      attacks_html: a section of HTML that goes below the others, unescaped.
      command: what to type to get this page again.
      about: further provenance, e.g. revision and versions.

    Returns:
      The path of robustness.html.

    Raises:
      ValueError: as `check_records`, `corruption_examples` and `feature_study_figure`; nothing is written.
      OSError: writing failed.
    """
    check_records(records)
    drawings = {
        "severity_curves.png": Drawing(
            "Accuracy against severity",
            curves_caption(records),
            lambda theme: severity_curves(records, theme=theme),
        ),
        "robustness_map.png": Drawing(
            "Accuracy by corruption and severity",
            map_caption(records),
            lambda theme: robustness_map(records, theme=theme),
        ),
    }
    if examples_images is not None:
        drawings["corrupted.png"] = Drawing(
            "What the noise does to an image",
            corrupted_caption(examples_images),
            lambda theme: corruption_examples(examples_images, theme=theme),
        )
    if features:
        drawings["feature_study.png"] = Drawing(
            "Where noise changes the feature maps",
            feature_study_caption(features),
            lambda theme: feature_study_figure(features, theme=theme),
        )
    # Everything is drawn before anything is written: a figure that fails leaves no half of a page.
    plots = {name: drawing.drawn() for name, drawing in drawings.items()}
    sections = [_head(records), _tables(records)]
    sections += [
        f"<section><h2>{escape(plot.title)}</h2>{page.picture(plot)}</section>" for plot in plots.values()
    ]
    sections += [attacks_html or "", _provenance(records, command, about or {})]
    for name, plot in plots.items():
        write_bytes_atomically(Path(folder) / name, plot.light)
    path = Path(folder) / "robustness.html"
    write_text_atomically(path, page.page("bnnjax: accuracy under noise", "\n".join(sections)))
    return path


def _head(records: Sequence[Record]) -> str:
    said = f"bnnjax robustness: {count_text(len(records), 'run')}, {baseline_text(records)}"
    parts = [f'<p class="run">{escape(said)}</p>', f"<h1>{escape(headline(records))}</h1>"]
    if len(records) == 1:
        parts.append(page.key_figures(_strip(records[0])))
    parts += [f'<p class="warning">{escape(text)}</p>' for text in differences(records)]
    return f"<header>{''.join(parts)}</header>"


def _strip(record: Record) -> list[tuple[str, str]]:
    worst = worst_corruptions(record, 1)
    return [
        ("clean accuracy", number_text(record["clean_accuracy"], ".2f", "%")),
        ("under noise", number_text(record["mean_corruption_accuracy"], ".2f", "%")),
        ("mCE", number_text(record.get("mce"), ".1f", "%")),
        ("hardest", f"{number_text(worst[0][1], '.1f', '%')} {spoken(worst[0][0])}" if worst else MISSING),
    ]


def _tables(records: Sequence[Record]) -> str:
    parts = [
        f"<section><h2>Side by side</h2>{_with_model(robustness_cells(records), records)}",
        f"<p>{escape(MEANING)}</p></section>",
        "<section><h2>Mean accuracy by group of corruptions</h2>",
        f"{_with_model(group_cells(records), records)}</section>",
    ]
    if has_seeds(records):
        heading, rows = spread_cells(records)
        title = "Over seeds: mean \N{PLUS-MINUS SIGN} sample standard deviation"
        parts.append(f"<section><h2>{title}</h2>{page.numbers_table(heading, rows)}</section>")
    return "".join(parts)


def _with_model(cells: Cells, records: Sequence[Record]) -> str:
    """Sets a table with the model as its second column, a column of text."""
    heading, rows = cells
    rows = [[row[0], str(record["model"]), *row[1:]] for row, record in zip(rows, records, strict=True)]
    return page.numbers_table([heading[0], "model", *heading[1:]], rows)


def _provenance(records: Sequence[Record], command: str | Sequence[str], about: Mapping[str, Any]) -> str:
    text = command if isinstance(command, str) else " ".join(command)
    origin = {
        "corruptions in the means": value_text([spoken(name) for name in records[0]["benchmark"]]),
        "severities": value_text(list(records[0]["severities"])),
        "noise": "; ".join(dict.fromkeys(value_text(record["source"]) for record in records)),
        "images": "; ".join(dict.fromkeys(count_text(record["examples"]) for record in records)),
        "baseline": value_text(list(dict.fromkeys(r["baseline"] for r in records if r.get("baseline")))),
        **{key: value for key, value in about.items() if key not in ("command", "versions")},
        **about.get("versions", {}),
    }
    runs = "".join(
        page.nested_details(str(record["label"]), _without_intervals(record)) for record in records
    )
    return (
        f"<section><h2>To repeat this</h2><pre>{escape(text or MISSING)}</pre>{page.pairs_table(origin)}"
        f"</section><section><h2>Everything recorded</h2>{runs}</section>"
    )


def _without_intervals(record: Record) -> dict[str, Any]:
    """Returns a record without its intervals, which the figure shows."""
    return {key: value for key, value in record.items() if key != "intervals"}
