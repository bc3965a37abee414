"""Sentences and tables on consoles of any width."""

import io
import sys

import pytest
from rich.console import Console

from bnnjax.report.style.table import plain_table
from bnnjax.runtime.console import complain, show

FIGURES = ("100.00", "99.75 (98.10 to 99.97)", "1234.5", "100.00")


@pytest.mark.parametrize("width", [20, 80, 400])
def test_no_console_is_too_narrow_for_whole_figures(width: int) -> None:
    page = io.StringIO()
    names = ("irnet, l1inf, seed 0", "a-name-that-is-longer-than-a-terminal-that-is-quite-narrow")
    columns = ["network", *(f"heading of column {number}, %" for number in range(4))]
    show(Console(file=page, width=width), plain_table("Title", columns, [[name, *FIGURES] for name in names]))
    output = page.getvalue()
    assert "…" not in output
    for word in (*" ".join(FIGURES).split(), *names[1:]):
        assert output.split().count(word) >= (1 if word in names else 2 * FIGURES.count(word))


def test_a_complaint_that_nobody_can_read_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Closed())
    complain("nobody hears this")
