"""Plots of an HTML page: each is drawn twice, for light pages and for dark ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from bnnjax.report.style.theme import DARK, LIGHT, Theme, png_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Plot(NamedTuple):
    """A plot as PNGs."""

    title: str
    caption: str
    light: bytes
    dark: bytes


class Drawing(NamedTuple):
    """A plot that is not drawn yet."""

    title: str
    caption: str
    draw: Callable[[Theme], Figure]

    def drawn(self) -> Plot:
        """Draws it, light and dark."""
        return Plot(self.title, self.caption, png_bytes(self.draw(LIGHT)), png_bytes(self.draw(DARK)))
