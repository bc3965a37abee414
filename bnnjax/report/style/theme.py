"""Colours and axes shared by all plots, one set for light pages and one for dark."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.image import AxesImage


@dataclass(frozen=True, kw_only=True)
class Theme:
    """Colours of a page; colour-blind readers can tell the three series colours apart."""

    paper: str
    ink: str
    muted: str
    grid: str
    first: str
    second: str
    third: str
    more: tuple[str, ...]  # further series colours
    map: str  # a Matplotlib colour map, from no example to all


# Series colours after Okabe and Ito (2008), "Color Universal Design".
LIGHT = Theme(
    paper="#ffffff",
    ink="#1a1d21",
    muted="#5a646e",
    grid="#e2e5e9",
    first="#0072b2",
    second="#d55e00",
    third="#009e73",
    more=("#b8579a", "#e69f00", "#56b4e9"),
    map="Blues",
)
DARK = Theme(
    paper="#16191d",
    ink="#e6e8eb",
    muted="#a0aab4",
    grid="#30363d",
    first="#56b4e9",
    second="#e69f00",
    third="#2cc295",
    more=("#e39cc4", "#f0e442", "#ff7a4d"),
    map="cividis",
)

# At 96 CSS pixels per inch a figure this wide fills the page's column, so a point is a point on the screen.
PAGE_INCHES = 10.0
TEXT_POINTS = 10.0
SMALL_POINTS = 9.0


def new_figure(height: float, theme: Theme, *, constrained: bool = True) -> Figure:
    """Makes a page-wide figure without touching Matplotlib's global state.

    Args:
      height: in inches.
      theme: its colours.
      constrained: whether to use the constrained layout; otherwise `subplots_adjust` places the axes.
    """
    from matplotlib.figure import Figure

    layout: Literal["constrained"] | None = "constrained" if constrained else None
    return Figure(figsize=(PAGE_INCHES, height), facecolor=theme.paper, layout=layout)


def style_axes(
    axes: Axes, theme: Theme, *, title: str = "", x: str = "", y: str = "", grid: str = "both"
) -> None:
    """Gives axes the page's look and labels.

    Args:
      axes: changed in place.
      theme: colours.
      title: what the panel shows.
      x: label with unit.
      y: label with unit.
      grid: direction of the grid lines, `both`, `x`, `y` or empty for none.
    """
    axes.set_facecolor(theme.paper)
    axes.set_title(title, loc="left", fontsize=TEXT_POINTS + 1, fontweight="bold", color=theme.ink)
    axes.set_xlabel(x, fontsize=TEXT_POINTS, color=theme.muted)
    axes.set_ylabel(y, fontsize=TEXT_POINTS, color=theme.muted)
    axes.tick_params(which="both", labelsize=SMALL_POINTS, colors=theme.muted, labelcolor=theme.ink, length=3)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.muted)
    if grid:
        axes.grid(axis=grid, color=theme.grid, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def add_legend(axes: Axes, theme: Theme) -> None:
    """Adds a legend in the page's look, if the axes have labelled series."""
    if not axes.get_legend_handles_labels()[0]:
        return
    legend = axes.legend(fontsize=SMALL_POINTS, labelcolor=theme.ink, facecolor=theme.paper, loc="best")
    legend.get_frame().set_edgecolor(theme.grid)


def legend_below(figure: Figure | SubFigure, axes: Axes, theme: Theme, ncols: int) -> None:
    """Adds a legend of the axes' labelled series, if any, below a figure, in the page's look."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    legend = figure.legend(
        handles, labels, loc="outside lower center", fontsize=SMALL_POINTS, labelcolor=theme.ink,
        ncols=min(ncols, len(labels)),
    )  # fmt: skip
    legend.get_frame().set(facecolor=theme.paper, edgecolor=theme.grid)


def color_bar(
    figure: Figure | SubFigure, image: AxesImage, axes: Sequence[Axes], label: str, theme: Theme
) -> None:
    """Adds a colour bar beside axes, in the page's look."""
    bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=30, pad=0.01)
    bar.set_label(label, color=theme.muted)
    bar.ax.tick_params(labelsize=SMALL_POINTS, colors=theme.muted, labelcolor=theme.ink)
    bar.outline.set_visible(False)


def series_style(number: int, theme: Theme) -> dict[str, Any]:
    """Returns colour and line style of one of up to a dozen series; the second six repeat colours, dashed."""
    colors = (theme.first, theme.second, theme.third, *theme.more)
    lines: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
    return {
        "color": colors[number % len(colors)],
        "linestyle": lines[number // len(colors) % len(lines)],
    }


def text_on(color: Any) -> str:
    """Returns black or white, whichever is readable on a colour of red, green and blue from 0 to 1."""
    red, green, blue = color[:3]
    return "#ffffff" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else "#1a1d21"


def png_bytes(figure: Figure, dpi: int = 160) -> bytes:
    """Renders a figure as PNG with the Agg backend."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=dpi, facecolor=figure.get_facecolor())
    return buffer.getvalue()
