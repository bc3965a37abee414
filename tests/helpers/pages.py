"""HTML pages as tests read them, and the page of a made-up run."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from bnnjax.report.run.html import draw_noise_plots, draw_plots, write_report

VOID = {"meta", "img", "source", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """Collects tags, words and the rows of tables, and fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] in (["td"], ["th"]):
            self.rows[-1][-1] += data
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def write_run_page(
    workdir: Path,
    *,
    config: dict[str, Any],
    metrics: list[dict[str, Any]],
    summary: dict[str, Any],
    units: list[dict[str, Any]],
    robustness: dict[str, Any] | None = None,
    corrupted: Any = None,
    examples: Any = None,
    confusion: Any = None,
) -> Path:
    """Draws the plots of a run and writes its report; the arguments are those of the two."""
    plots = draw_plots(
        metrics=metrics,
        best_epoch=summary.get("best_epoch"),
        units=units,
        examples=examples,
        confusion=confusion,
    )
    if robustness is not None:
        plots |= draw_noise_plots(robustness, corrupted)
    return write_report(
        workdir, plots, config=config, metrics=metrics, summary=summary, units=units, robustness=robustness
    )
