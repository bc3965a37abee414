"""The frame of HTML pages: the style sheet, and functions for the few elements that all pages use."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from bnnjax.report.style.formatting import value_text
from bnnjax.report.style.plots import Plot

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1a1d21; --muted: #5a646e; --line: #e2e5e9; --tint: #f5f7f9; --warn: #a63d00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16191d; --ink: #e6e8eb; --muted: #a0aab4; --line: #30363d; --tint: #1e2227; --warn: #e69f00;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 62.5rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", "Liberation Sans", "DejaVu Sans", sans-serif;
}
.run { color: var(--muted); margin: 0 0 .4rem; }
h1 {
  font-size: 1.6rem; line-height: 1.3; font-weight: 650; text-wrap: balance;
  margin: 0 0 1.5rem; max-width: 54rem;
}
h2 { font-size: 1.2rem; margin: 3rem 0 .6rem; }
p, figcaption { max-width: 46rem; margin: 0 0 .8rem; }
.strip {
  display: grid; grid-template-columns: repeat(4, 1fr); gap: 1px; margin: 0; padding: 1px;
  background: var(--line); border-radius: 6px; overflow: hidden;
}
.strip div { background: var(--tint); padding: .7rem .9rem; }
.strip dt { color: var(--muted); font-size: .82rem; }
.strip dd { margin: 0; font-size: 1.2rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.warning {
  border-left: 4px solid var(--warn); padding: .5rem .9rem; margin: 1rem 0; background: var(--tint);
}
figure { margin: 0; }
figure img { display: block; width: 100%; height: auto; }
figcaption { color: var(--muted); font-size: .93rem; margin-top: .6rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; width: 100%; }
th, td {
  text-align: left; vertical-align: top; padding: .28rem .9rem .28rem 0; border-bottom: 1px solid var(--line);
}
thead th { color: var(--muted); font-weight: 600; vertical-align: bottom; }
.numbers td:not(:first-child):not(:nth-child(2)), .numbers th:not(:first-child):not(:nth-child(2)) {
  text-align: right; font-variant-numeric: tabular-nums;
}
.numbers td:not(:first-child) { white-space: nowrap; }
.wide + p { margin-top: .8rem; }
.pairs th { font-weight: 400; color: var(--muted); width: 16rem; }
.pairs td { overflow-wrap: anywhere; }
tr.off td { color: var(--warn); }
code, pre { font: .86rem/1.5 ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", monospace; }
pre {
  background: var(--tint); padding: .8rem 1rem; border-radius: 6px;
  white-space: pre-wrap; overflow-wrap: anywhere;
}
details { margin: .4rem 0; }
details details { margin-left: 1.1rem; }
summary { cursor: pointer; font-weight: 600; padding: .2rem 0; }
@media (max-width: 40rem) { .strip { grid-template-columns: repeat(2, 1fr); } h1 { font-size: 1.35rem; } }
@media print {
  @page { margin: 15mm; }
  html { font-size: 10pt; }
  body { padding: 0; max-width: none; }
  h2, summary { break-after: avoid; }
  figure, tr, .strip, .warning { break-inside: avoid; }
  figure img { max-height: 225mm; object-fit: contain; object-position: left; }
  header + section img { max-height: 135mm; }
  details::details-content { display: block; content-visibility: visible; height: auto; }
}
"""


def page(title: str, body: str) -> str:
    """Returns a complete document that refers to nothing outside itself.

    Args:
      title: plain text.
      body: HTML.
    """
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
{body}
</body>
</html>
"""


def key_figures(figures: Sequence[tuple[str, str]]) -> str:
    """Sets names and values as a strip of key figures."""
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in figures)
    return f'<dl class="strip">{cells}</dl>'


def pairs_table(pairs: Mapping[str, Any]) -> str:
    """Sets a flat mapping as a table of two columns."""
    rows = "".join(
        f'<tr><th scope="row">{escape(str(key))}</th><td>{escape(value_text(value))}</td></tr>'
        for key, value in pairs.items()
    )
    return f'<div class="wide"><table class="pairs"><tbody>{rows}</tbody></table></div>'


def nested_details(name: str, values: Mapping[str, Any], *, opened: bool = False) -> str:
    """Sets a nested mapping as sections that open and close.

    Args:
      name: heading of the section.
      values: leaves become rows of a table, mappings become sections inside.
      opened: whether the outermost section starts open.
    """
    leaves = {key: value for key, value in values.items() if not isinstance(value, Mapping)}
    inner = pairs_table(leaves) if leaves else ""
    inner += "".join(
        nested_details(str(key), value, opened=True)
        for key, value in values.items()
        if isinstance(value, Mapping)
    )
    return f"<details{' open' if opened else ''}><summary>{escape(name)}</summary>{inner}</details>"


def numbers_table(header: Sequence[str], rows: Sequence[Sequence[str]], off: Sequence[bool] = ()) -> str:
    """Sets a table whose columns after the second are numbers.

    Args:
      header: one name per column.
      rows: texts.
      off: one flag per row, or none at all; flagged rows are coloured.
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "".join(
        f"<tr{' class=off' if flag else ''}>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row, flag in zip(rows, off or [False] * len(rows), strict=True)
    )
    table = f'<table class="numbers"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="wide">{table}</div>'


def picture(plot: Plot) -> str:
    """Sets a plot with its caption; the title is the text for readers who cannot see the image."""
    by_day, by_night = (base64.b64encode(png).decode("ascii") for png in (plot.light, plot.dark))
    return (
        "<figure><picture>"
        f'<source media="(prefers-color-scheme: dark)" srcset="data:image/png;base64,{by_night}">'
        f'<img src="data:image/png;base64,{by_day}" alt="{escape(plot.title)}"></picture>'
        f"<figcaption>{escape(plot.caption)}</figcaption></figure>"
    )
