"""Numbers are formatted the same way everywhere, missing and non-finite ones included."""

import numpy as np
import pytest

from bnnjax.report.style import formatting


@pytest.mark.parametrize(
    ("value", "spec", "unit", "text"),
    [
        (93.104, ".2f", "%", "93.10%"),
        (41.25, ".1f", "nats", "41.2 nats"),
        (np.float32(0.5), ".2f", "", "0.50"),
        (float("nan"), ".2f", "%", "not finite"),
        (float("-inf"), ".2f", "nats", "not finite"),
        (None, ".2f", "%", formatting.MISSING),
        ("high", ".2f", "", formatting.MISSING),
        (True, ".2f", "", formatting.MISSING),
    ],
)
def test_number_text(value: object, spec: str, unit: str, text: str) -> None:
    assert formatting.number_text(value, spec, unit) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (59.94, "59.9 s"),
        (59.97, "1 min 00 s"),
        (725, "12 min 05 s"),
        (3599.7, "1 h 00 min"),
        (90061, "25 h 01 min"),
        (None, formatting.MISSING),
        (float("inf"), "not finite"),
        (-1.0, formatting.MISSING),
    ],
)
def test_duration_text(seconds: object, text: str) -> None:
    assert formatting.duration_text(seconds) == text


def test_clock_text() -> None:
    assert [formatting.clock_text(value) for value in (-3.0, 59.6, 3661.0)] == [
        "0:00:00",
        "0:01:00",
        "1:01:01",
    ]


def test_count_text() -> None:
    assert formatting.count_text(1234567) == "1,234,567"
    assert [formatting.count_text(value, "unit") for value in (0, 1, 2)] == ["0 units", "1 unit", "2 units"]


def test_shortened_keeps_both_ends() -> None:
    assert formatting.shortened("stage1", 6) == "stage1"
    text = formatting.shortened("stage1_block1/conv1", 9)
    assert len(text) == 9
    assert text.startswith("stag")
    assert text.endswith("onv1")


def test_tightness_range_leaves_out_what_is_not_finite() -> None:
    units = [{"tightness": value} for value in (0.2, 0.4, 0.9, float("nan"), None)] + [{}]
    assert formatting.tightness_range(units) == (0.4, 0.9)
    assert formatting.tightness_range([{"tightness": None}]) is None


def test_units_off_counts_units_first() -> None:
    assert formatting.units_off([{"off": True}, {"off": False}, {}], {"units_off": 7}) == 1
    assert formatting.units_off([], {"units_off": 7}) == 7
    assert formatting.units_off([], {}) == 0
