"""Tables for the terminal: a first column of words, and numbers aligned at the right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def plain_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Returns a table whose first column is never wrapped, and none within a word or figure.

    Args:
      title: above it.
      columns: their names.
      rows: texts.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", padding=0)
    for number, column in enumerate(columns):
        words = " ".join((column, *(row[number] for row in rows))).split()
        is_first = number == 0
        table.add_column(
            column,
            justify="left" if is_first else "right",
            no_wrap=is_first,
            min_width=max(map(len, [row[0] for row in rows] if is_first else words), default=0),
        )
    for row in rows:
        table.add_row(*map(Text, row))
    return table
