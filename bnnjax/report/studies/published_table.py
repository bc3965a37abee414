"""Comparison tables as Markdown, CSV and LaTeX: measured accuracies beside published ones.

A record describes one row: `name`, `topology`, `method`, `structure`, `wbits`, `abits`, the published `top1`
and `top5` in percent (or None) on the data set `published_on` with `source` and `confirmed_by`, `diverged`
(how many runs ended because their loss was not finite) and `summaries`, the content of summary.json of each
finished run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bnnjax.report.style.formatting import (
    MISSING,
    bytes_text,
    count_text,
    csv_text,
    duration_text,
    markdown_table,
    number_text,
    spread,
    spread_text,
    value_text,
)

Record = Mapping[str, Any]

UNCONFIRMED = "\N{DAGGER}"
LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    UNCONFIRMED: r"$^\dagger$",
    MISSING: "--",
}
RECIPE = ("optimizer", "learning_rate", "weight_decay", "batch_size", "epochs", "train_examples", "precision")


def mean_and_deviation(record: Record, key: str) -> tuple[float | None, float | None]:
    """Returns mean and sample standard deviation of a summary's entry over the runs; None where undefined."""
    return spread(summary.get(key) for summary in record["summaries"])


def one_of(record: Record, key: str) -> Any:
    """Returns a summary's entry if all runs agree on it, else a text that lists their entries."""
    values = list(dict.fromkeys(summary.get(key) for summary in record["summaries"]))
    return values[0] if len(values) == 1 else ", ".join(map(str, values)) or None


def hardware(record: Record) -> str:
    """Returns e.g. `1 x NVIDIA H100` or `1 x cpu (2 cores)`."""
    kinds = [
        f"{summary.get('devices')} x {summary.get('device_kind')}"
        + (f" ({summary.get('cpu_cores')} cores)" if summary.get("device_kind") == "cpu" else "")
        for summary in record["summaries"]
    ]
    return "; ".join(dict.fromkeys(kinds)) or MISSING


def flat(record: Record) -> dict[str, Any]:
    """Returns a record's figures by name, flat: a line of the CSV file."""
    accuracy, accuracy_deviation = mean_and_deviation(record, "test_accuracy")
    top5, top5_deviation = mean_and_deviation(record, "test_top5_accuracy")
    bound, bound_deviation = mean_and_deviation(record, "log_lipschitz_bound")
    return {
        "row": record["name"],
        **{key: record[key] for key in ("topology", "method", "structure", "wbits", "abits")},
        "runs": len(record["summaries"]),
        "diverged": record["diverged"],
        "test_accuracy_mean": accuracy,
        "test_accuracy_std": accuracy_deviation,
        "test_top5_accuracy_mean": top5,
        "test_top5_accuracy_std": top5_deviation,
        "published_top1": record["top1"],
        "published_top5": record["top5"],
        "published_on": record["published_on"],
        "published_source": record["source"],
        "published_confirmed_by": record["confirmed_by"],
        "log_lipschitz_bound_mean": bound,
        "log_lipschitz_bound_std": bound_deviation,
        **{
            key: one_of(record, key)
            for key in ("constraint", "parameters", "model_bytes", "pretrained", "pretrained_epochs")
        },
        "hardware": hardware(record),
        "train_seconds_mean": mean_and_deviation(record, "train_seconds")[0],
        **{key: one_of(record, key) for key in RECIPE},
        "git_revision": one_of(record, "git_revision"),
    }


def _scores(top1: str, top5: str | None) -> str:
    return top1 if top5 is None else f"{top1} / {top5}"


def _published(percent: float | None) -> str:
    text = number_text(percent)
    return text[:-1] if text.endswith("0") else text  # 86.5 and 86.75


def cells(record: Record, with_top5: bool) -> dict[str, str]:
    """Returns a record as texts by the headings of their columns.

    Args:
      record: the row.
      with_top5: whether accuracies are `top-1 / top-5`.
    """
    figures = flat(record)
    runs = f"{figures['runs']} run" + ("" if figures["runs"] == 1 else "s")
    diverged = f", {figures['diverged']} diverged" if figures["diverged"] else ""
    measured = {
        rank: spread_text(figures[f"{key}_mean"], figures[f"{key}_std"])
        for rank, key in (("top1", "test_accuracy"), ("top5", "test_top5_accuracy"))
    }
    published = {rank: _published(record[rank]) for rank in ("top1", "top5")}
    top5 = "top5" if with_top5 else None
    flag = "" if record["confirmed_by"] or record["top1"] is None else f" {UNCONFIRMED}"
    return {
        "topology": record["topology"],
        "method": record["method"],
        "structure": record["structure"],
        "bits W/A": f"{record['wbits']}/{record['abits']}",
        "test accuracy, %": f"{_scores(measured['top1'], top5 and measured[top5])} ({runs}{diverged})",
        f"published on {record['published_on']}, %": _scores(published["top1"], top5 and published[top5])
        + flag,
        "source": record["source"] or MISSING,
        "parameters": count_text(figures["parameters"]),
        "1-bit size": bytes_text(figures["model_bytes"]),
        "epochs": value_text(figures["epochs"]),
        "pretrained": f"{figures['pretrained_epochs']} epochs" if figures["pretrained"] else "no",
        "hardware": figures["hardware"],
        "time a run": duration_text(figures["train_seconds_mean"]),
    }


def _grid(records: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    with_top5 = any(record["top5"] is not None for record in records)
    rows = [cells(record, with_top5) for record in records]
    return list(rows[0]), [list(row.values()) for row in rows]


def comparison_table(records: Sequence[Record]) -> str:
    """Returns the table in Markdown, its columns aligned for a reader of the plain text."""
    return markdown_table(*_grid(records))


def _notes(records: Sequence[Record]) -> list[str]:
    summaries = [summary for record in records for summary in record["summaries"]]
    everything: Record = {"summaries": summaries}
    recipe = ", ".join(f"{key.replace('_', ' ')} {value_text(one_of(everything, key))}" for key in RECIPE)
    versions = dict.fromkeys(summary.get("versions", {}).get("jax") for summary in summaries)
    revisions = value_text(one_of(everything, "git_revision"))
    return [
        f"All rows have one recipe: {recipe}; a cosine to 0, the same augmentation, no pretrained "
        "weights unless the column says so.",
        "Mean \N{PLUS-MINUS SIGN} sample standard deviation over seeds.  The epoch that is tested was chosen "
        "on validation images.",
        f"{UNCONFIRMED} as the table named as its source prints it; found in no other source.",
        "1-bit size: latent weights at their bits, all other parameters at 32; scaling factors fold into "
        "batch norms.",
        f"Data: {value_text(one_of(everything, 'data_source'))}.  jax {', '.join(map(str, versions))}, "
        f"revision {revisions}.",
    ]


def comparison_page(title: str, command: str, records: Sequence[Record]) -> str:
    """Returns a Markdown page: title, command, table, and what a reader must know of it."""
    notes = "\n".join(f"- {note}" for note in _notes(records))
    return f"# {title}\n\n    {command}\n\n{comparison_table(records)}\n{notes}\n"


def comparison_csv(records: Sequence[Record]) -> str:
    """Returns the figures as CSV, with a line per row; missing figures are empty."""
    return csv_text([flat(record) for record in records])


def latex_text(text: str) -> str:
    """Returns a text as LaTeX prints it."""
    return "".join(LATEX.get(character, character) for character in text)


def comparison_latex(records: Sequence[Record]) -> str:
    """Returns the table as a LaTeX tabular, which needs the package booktabs."""
    heading, rows = _grid(records)
    lines = [" & ".join(map(latex_text, row)) + r" \\" for row in (heading, *rows)]
    begin, end = r"\begin{tabular}{" + "l" * len(heading) + "}", r"\end{tabular}"
    return "\n".join([begin, r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", end]) + "\n"
