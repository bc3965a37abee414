"""Formatting of numbers in reports: one wording for missing and for non-finite values everywhere."""

import csv
import io
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MISSING = "\N{EN DASH}"
NOT_FINITE = "not finite"


def as_float(value: Any) -> float | None:
    """Returns a number as float (it may be NaN or infinite), None for anything else."""
    if value is None or isinstance(value, str | bytes | bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def finite(value: Any) -> float | None:
    """Returns a finite number as float, None for anything else."""
    number = as_float(value)
    return number if number is not None and math.isfinite(number) else None


def number_text(value: Any, spec: str = ".2f", unit: str = "") -> str:
    """Formats a number for a reader.

    Args:
      value: a number, or anything else for "missing".
      spec: Python format specification of a finite number.
      unit: put behind a finite number, after a space unless it is a percent sign.

    Returns:
      For example `93.10%`, `41.2 nats`, `not finite`, or an en dash for a value that is not a number.
    """
    number = as_float(value)
    if number is None:
        return MISSING
    if not math.isfinite(number):
        return NOT_FINITE
    space = "" if unit in ("", "%") else " "
    return f"{number:{spec}}{space}{unit}"


def count_text(value: Any, noun: str = "") -> str:
    """Formats a whole number with thousands separated, `1 unit` or `2 units` when a noun is given."""
    text = number_text(value, ",.0f")
    if not noun:
        return text
    return f"{text} {noun}" if text == "1" else f"{text} {noun}s"


def duration_text(seconds: Any) -> str:
    """Formats seconds as `42.0 s`, `12 min 05 s` or `3 h 07 min`."""
    number = finite(seconds)
    if number is None or number < 0:
        return number_text(None if number is not None else seconds)
    if number < 59.95:  # rounds to less than 60.0
        return f"{number:.1f} s"
    minutes, rest = divmod(round(number), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes:02d} min"


def bytes_text(size: Any) -> str:
    """Formats a number of bytes as `812 B`, `34.2 kB` or `1.41 MB`."""
    number = finite(size)
    if number is None:
        return number_text(size)
    unit, divisor = next(
        ((unit, divisor) for unit, divisor in (("MB", 1e6), ("kB", 1e3)) if number >= divisor), ("B", 1.0)
    )
    return number_text(number / divisor, ".3g" if divisor > 1 else ".0f", unit)


def clock_text(seconds: float) -> str:
    """Formats seconds as `h:mm:ss`, the form of a countdown."""
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def value_text(value: Any) -> str:
    """Formats any configuration value or result: numbers short, other values as they print."""
    if value is None or value == "":
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number_text(value, ".6g")
    if isinstance(value, list | tuple):
        return ", ".join(value_text(item) for item in value) or MISSING
    return str(value)


def shortened(text: str, length: int) -> str:
    """Cuts the middle out of a text that is longer than `length` characters."""
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - (length - 1 - head) :]}"


def spread(values: Iterable[Any]) -> tuple[float | None, float | None]:
    """Returns mean and sample standard deviation of the finite values; None where undefined."""
    numbers = [number for value in values if (number := finite(value)) is not None]
    if not numbers:
        return None, None
    return statistics.mean(numbers), statistics.stdev(numbers) if len(numbers) > 1 else None


def spread_text(mean: float | None, deviation: float | None) -> str:
    """Formats the result of `spread` as `93.10 ± 0.42`."""
    return number_text(mean) + ("" if deviation is None else f" \N{PLUS-MINUS SIGN} {number_text(deviation)}")


def markdown_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table in Markdown, with columns that are aligned in the plain text."""
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]

    def line(texts: Sequence[str]) -> str:
        padded = [text.ljust(width) for text, width in zip(texts, widths, strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = f"|{'|'.join('-' * (width + 2) for width in widths)}|"
    return "\n".join([line(heading), rule, *map(line, rows)]) + "\n"


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns rows, each a mapping from column to figure, as CSV; None is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def tightness_range(units: Sequence[Mapping[str, Any]]) -> tuple[float, float] | None:
    """Returns median and largest tightness of the units with a finite one, None if there are none."""
    ratios = [ratio for unit in units if (ratio := finite(unit.get("tightness"))) is not None]
    return (statistics.median(ratios), max(ratios)) if ratios else None


def units_off(units: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> int:
    """Returns the number of dead units, from the units if there are any, else from the summary."""
    if units:
        return sum(bool(unit.get("off")) for unit in units)
    return int(finite(summary.get("units_off")) or 0)
