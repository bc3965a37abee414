"""The section on accuracy under noise of a training run's page: a quick robustness evaluation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from bnnjax.report.robustness.examples import (
    Corrupted,
    check_corrupted,
    corrupted_caption,
    corruption_examples,
)
from bnnjax.report.robustness.plots import color_limits, draw_map, map_caption, mean_accuracies
from bnnjax.report.robustness.tables import (
    Record,
    check_records,
    corruptions_of,
    group_of,
    groups_of,
    spoken,
    with_interval,
    worst_corruptions,
)
from bnnjax.report.style.formatting import MISSING, count_text, finite, number_text, value_text
from bnnjax.report.style.plots import Drawing
from bnnjax.report.style.theme import (
    LIGHT,
    SMALL_POINTS,
    TEXT_POINTS,
    Theme,
    color_bar,
    new_figure,
    series_style,
    style_axes,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Section(NamedTuple):
    """The numbers of a run's accuracy under noise, for its page."""

    strip: list[tuple[str, str]]  # key figures for the head
    rows: dict[str, str]  # of a table


def noise_figure(record: Record, *, theme: Theme = LIGHT) -> Figure:
    """Draws one run's accuracy under noise: means by group against severity, and a map of all corruptions.

    Args:
      record: the run.
      theme: colours.
    """
    names, severities = corruptions_of([record]), list(record["severities"])
    figure = new_figure(4.6 + 0.26 * len(severities), theme)
    top, bottom = figure.subfigures(2, 1, height_ratios=(2.9, 1.7 + 0.26 * len(severities)))  # type: ignore[misc]
    for part in (top, bottom):
        part.set_facecolor(theme.paper)
    curves, single = top.subplots(), bottom.subplots()
    style_axes(curves, theme, title="Mean accuracy by group of corruptions", x="severity", y="percent")
    x = [0.0, *map(float, severities)]
    clean = finite(record["clean_accuracy"])
    lines = [(f"all {len(record['benchmark'])}", list(record["benchmark"]))]
    lines += [(g, [name for name in record["benchmark"] if group_of(name) == g]) for g in groups_of(record)]
    for number, (label, members) in enumerate(lines):
        y = [math.nan if clean is None else clean, *mean_accuracies(record, members, severities)]
        style = series_style(number - 1, theme) if number else {"color": theme.ink, "linestyle": "--"}
        curves.plot(x, y, linewidth=1.8, marker="o", markersize=3.5, label=label, **style)
    curves.set_xticks(x, ["no noise", *severities])
    legend = curves.legend(
        loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=SMALL_POINTS, labelcolor=theme.ink,
        facecolor=theme.paper,
    )  # fmt: skip
    legend.get_frame().set_edgecolor(theme.grid)
    image = draw_map(single, record, names, severities, color_limits([record]), theme, lying=True)
    single.set_title(
        "Accuracy by corruption", loc="left", fontsize=TEXT_POINTS + 1, fontweight="bold", color=theme.ink
    )
    color_bar(bottom, image, [single], "percent", theme)
    return figure


def noise_drawings(record: Record, images: Corrupted | None) -> dict[str, Drawing]:
    """Returns the plots of a run's accuracy under noise by file.

    Args:
      record: of the run, over some of the test images and some severities.
      images: as `corruption_examples` takes them; None leaves their plot out.

    Raises:
      ValueError: as `check_records` and `check_corrupted`.
    """
    check_records([record])
    plots = {
        "noise.png": Drawing(
            "Accuracy under noise", quick_caption(record), lambda theme: noise_figure(record, theme=theme)
        )
    }
    if images is not None:
        check_corrupted(images)
        plots["corrupted.png"] = Drawing(
            "What the noise does to an image",
            corrupted_caption(images),
            lambda theme: corruption_examples(images, theme=theme),
        )
    return plots


def robustness_section(record: Record) -> Section:
    """Returns the numbers of a run's accuracy under noise, for its page.

    Args:
      record: of the run, over some of the test images and some severities.

    Raises:
      ValueError: as `check_records`.
    """
    check_records([record])
    worst = worst_corruptions(record)
    clean, noisy = finite(record["clean_accuracy"]), finite(record["mean_corruption_accuracy"])
    lost = MISSING if clean is None or noisy is None else number_text(clean - noisy, ".1f", "points")
    hardest = f"{number_text(worst[0][1], '.1f', '%')} {spoken(worst[0][0])}" if worst else MISSING
    strip = [
        ("accuracy under noise", number_text(noisy, ".2f", "%")),
        ("lost to noise", lost),
        ("hardest noise", hardest),
        ("calibration error under noise", number_text(record.get("mean_ece"), ".2f", "%")),
    ]
    rows = {
        "mean accuracy under noise, percent": with_interval(
            noisy, record.get("mean_corruption_accuracy_interval")
        ),
        "the same images without noise, percent": number_text(clean),
        "worst three": ", ".join(f"{spoken(name)} ({number_text(mean, '.1f', '%')})" for name, mean in worst),
        "corruptions in the mean": value_text([spoken(name) for name in record["benchmark"]]),
        "severities": value_text(list(record["severities"])),
        "test images": count_text(record["examples"]),
        "noise": value_text(record.get("source")),
    }
    return Section(strip, rows)


def quick_caption(record: Record) -> str:
    """Returns how to read the figure, and that it is the quick version."""
    return (
        f"The quick version, on {count_text(record['examples'], 'test image')} and at severities "
        f"{value_text(list(record['severities']))}: enough to notice a network that noise breaks, too coarse "
        "to publish. Above, the flatter a line, the more robust the network; below, corruptions marked extra "
        f"do not enter the means. {map_caption([record])}"
    )
