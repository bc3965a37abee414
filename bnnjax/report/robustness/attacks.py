"""Accuracies under attack as a table, a figure and a section of a page.

Records are those of `bnnjax.studies.attacks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnnjax.report.style import page
from bnnjax.report.style.formatting import number_text, shortened
from bnnjax.report.style.plots import Drawing
from bnnjax.report.style.table import plain_table
from bnnjax.report.style.theme import LIGHT, SMALL_POINTS, Theme, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.table import Table

Record = Mapping[str, Any]

# Attack: its name and its mark in the figure.
ATTACKS = {
    "fgsm": ("FGSM", "v"),
    "pgd_linf": ("PGD", "s"),
    "apgd_ce": ("APGD-CE", "^"),
    "apgd_dlr": ("APGD-DLR", "D"),
    "square": ("Square", "P"),
    "transfer": ("transfer", "X"),
}
HEADER = ("network", "size", "clean", *(name for name, _ in ATTACKS.values()), "worst case", "95 % interval")
NO_SIGN = "No sign of masked gradients."


def name_of(record: Record) -> str:
    """Returns the name of a run: that of its directory."""
    return shortened(Path(record["run"]).name, 44)


def attack_rows(record: Record) -> list[list[str]]:
    """Returns a row of texts for each size of the attacks, by HEADER; those of PGD in l_2 come last."""
    rows = []
    for size, found in record["eps"].items():
        low, high = found["worst_case_interval"]
        accuracies = [found["clean"], *(found[attack] for attack in ATTACKS), found["worst_case"]]
        texts = [number_text(value, ".1f") for value in accuracies]
        rows.append([name_of(record), size, *texts, f"{low:.1f} to {high:.1f}"])
    for size, accuracy in record["pgd_l2"].items():
        cells = {"network": name_of(record), "size": f"L2 {size}", "PGD": number_text(accuracy, ".1f")}
        rows.append([cells.get(column, "") for column in HEADER])
    return rows


def masking_sentences(record: Record) -> list[str]:
    """Returns a sentence for each sign of masked gradients, or one that says that there is none."""
    return list(record["masking"]) or [NO_SIGN]


def setting_sentence(record: Record) -> str:
    """Returns how the attacks were run."""
    chosen = record["temperature"]["chosen"]
    surrogate = chosen["surrogate"]
    gradients = (
        "the gradients it was trained with"
        if surrogate is None
        else f"surrogate gradients of temperature {surrogate:g}"
    )
    return (
        f"{record['images']} test images, {record['steps']} steps, {record['queries']} queries; {gradients}, "
        f"logits at temperature {chosen['logits']:.3g}."
    )


def attacks_table(record: Record) -> Table:
    """Returns a table with a row per attack and a column per size, and signs of masked gradients below it."""
    from rich.text import Text

    def row(name: str, text: Callable[[Record], str], in_sphere: Sequence[str] = ()) -> list[str]:
        spheres = in_sphere or [""] * len(record["pgd_l2"])
        return [name, *(text(found) for found in record["eps"].values()), *spheres]

    def accuracies(key: str) -> Callable[[Record], str]:
        return lambda found: number_text(found[key], ".1f")

    spheres = [number_text(accuracy, ".1f") for accuracy in record["pgd_l2"].values()]
    table = plain_table(
        f"{name_of(record)} under attack: accuracy, %",
        ["attack", *record["eps"], *(f"L2 {size}" for size in record["pgd_l2"])],
        [
            row("none", accuracies("clean")),
            *(
                row(name, accuracies(attack), spheres if attack == "pgd_linf" else ())
                for attack, (name, _) in ATTACKS.items()
            ),
            row("worst case", accuracies("worst_case")),
            row("95 % interval", lambda found: "{:.1f} to {:.1f}".format(*found["worst_case_interval"])),
        ],
    )
    table.caption = Text("\n".join((setting_sentence(record), *masking_sentences(record))))
    table.caption_justify = "left"
    return table


def _levels(eps: str) -> float:
    """Returns a size in levels of 255."""
    return float(255 * Fraction(eps))


def attacks_figure(records: Sequence[Record], *, theme: Theme = LIGHT) -> Figure:
    """Draws accuracy and loss against eps, with a line per run and a mark for each attack.

    The lines are those of one iterative attack, half as long as the others; bars are the worst case over all
    attacks with its interval.

    Args:
      records: one per run.
      theme: colours.
    """
    figure = new_figure(4.6 + 0.2 * len(records), theme)
    accuracy, loss = figure.subplots(1, 2, width_ratios=(1.7, 1))
    x = "eps, levels of 255"
    style_axes(accuracy, theme, title="Accuracy under attack", x=x, y="%")
    style_axes(loss, theme, title="Loss that the attack reaches", x=x, y="cross-entropy, nats")
    colors = [theme.first, theme.second, theme.third, *(f"C{number}" for number in range(3, 10))]
    for number, record in enumerate(records):
        color = colors[number % len(colors)]
        sizes = [_levels(eps) for eps in record["ladder"]]
        rungs = record["ladder"].values()
        style = {"color": color, "linewidth": 1.2, "marker": ".", "label": name_of(record)}
        accuracy.plot(sizes, [rung["accuracy"] for rung in rungs], **style)
        loss.plot(sizes, [rung["loss"] for rung in rungs], **style)
        _marks(accuracy, record, color, theme, is_first=number == 0)
    for axes in (accuracy, loss):
        axes.set_xscale("symlog", linthresh=1, base=2)
        levels = sorted({_levels(eps) for record in records for eps in record["ladder"]})
        axes.set_xticks(levels, [f"{level:g}" for level in levels])
        axes.minorticks_off()
    accuracy.set_ylim(-3, 103)
    loss.set_yscale("symlog", linthresh=1)
    loss.set_ylim(bottom=0)
    top = loss.get_ylim()[1]
    loss.set_yticks([tick for tick in (0, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if tick <= top])
    loss.yaxis.set_major_formatter("{x:g}")
    legend = figure.legend(
        *accuracy.get_legend_handles_labels(), loc="outside lower center", fontsize=SMALL_POINTS,
        labelcolor=theme.ink, ncols=4,
    )  # fmt: skip
    legend.get_frame().set(facecolor=theme.paper, edgecolor=theme.grid)
    return figure


def _marks(axes: Axes, record: Record, color: str, theme: Theme, *, is_first: bool) -> None:
    sizes = [_levels(eps) for eps in record["eps"]]
    for attack, (name, marker) in ATTACKS.items():
        values = [found[attack] for found in record["eps"].values()]
        if any(value is not None for value in values):
            axes.plot(
                sizes, [float("nan") if value is None else value for value in values], marker, color=color,
                markersize=6, markerfacecolor=theme.paper, linestyle="none",
                label=name if is_first else None,
            )  # fmt: skip
    worst = [found["worst_case"] for found in record["eps"].values()]
    ends = [found["worst_case_interval"] for found in record["eps"].values()]
    below = [max(value - low, 0) for value, (low, _) in zip(worst, ends, strict=True)]
    above = [max(high - value, 0) for value, (_, high) in zip(worst, ends, strict=True)]
    axes.errorbar(
        sizes, worst, yerr=(below, above), fmt="_", color=color, markersize=12, capsize=3, linewidth=1.2,
        label="worst case, 95 %" if is_first else None,
    )  # fmt: skip


def attacks_html(records: Sequence[Record]) -> str:
    """Returns a section of a page: figure, table, and sentences on signs of masked gradients."""
    drawing = Drawing(
        "Accuracy and loss against the size of the attack",
        "Lines: PGD with half the steps, by eps. Marks: the accuracy that each attack leaves. Bars: images "
        "that no attack breaks, with Wilson's interval.",
        lambda theme: attacks_figure(records, theme=theme),
    )
    rows = [row for record in records for row in attack_rows(record)]
    parts = [
        "<section><h2>Attacks</h2>",
        page.picture(drawing.drawn()),
        page.numbers_table(HEADER, rows, [False] * len(rows)),
    ]
    for record in records:
        parts.append(f"<p>{escape(name_of(record))}: {escape(setting_sentence(record))}</p>")
        if record["masking"]:
            sentences = " ".join(record["masking"])
            parts.append(f'<p class="warning">{escape(name_of(record))}: {escape(sentences)}</p>')
        else:
            parts.append(f"<p>{escape(name_of(record))}: {NO_SIGN}</p>")
    return "".join(parts) + "</section>"
