"""Tables and CSV of accuracy under noise have the numbers of the records."""

import csv
import io
import math
import statistics
from collections.abc import Callable

import numpy as np
import pytest
from rich.table import Table

from bnnjax.report.robustness.tables import (
    corruptions_of,
    group_cells,
    group_of,
    has_seeds,
    over_group,
    robustness_csv,
    robustness_spread_table,
    robustness_table,
    worst_corruptions,
)
from bnnjax.report.style.formatting import spread


def _cells(table: Table) -> list[dict[str, str]]:
    columns = {str(column.header): [str(cell) for cell in column.cells] for column in table.columns}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def test_the_table_has_a_row_a_run_with_its_figures(fake_robustness: Callable) -> None:
    table = robustness_table([fake_robustness(0), fake_robustness(3, mce=None)])
    first, second = _cells(table)
    # The mean over places 0 to 14 is 7, the mean of 4 times the severity 12.
    assert first == {
        "network": "irnet, none, seed 0",
        "clean, %": "81.00",
        "under noise, %": "61.00",
        "95 % interval": "60.5 to 61.2",
        "mCE, %": "90.00",
        "rel. mCE, %": "–",
        "ECE under noise, %": "7.25",
        "flips, %": "–",
    }
    assert (second["network"], second["mCE, %"]) == ("irnet, l1inf, seed 1", "–")
    assert table.title == (
        "Under noise, mCE against irnet, none, seed 0; 15 corruptions at severities 1, 2, 3, 4, 5"
    )


def test_without_interval_and_baseline(fake_robustness: Callable) -> None:
    record = fake_robustness(0, mean_corruption_accuracy_interval=None, baseline=None)
    table = robustness_table([record])
    assert _cells(table)[0]["95 % interval"] == "–"
    assert "no baseline for mCE" in str(table.title)


def test_group_means_leave_out_the_extra_corruptions(fake_robustness: Callable) -> None:
    heading, (values,) = group_cells([fake_robustness(0)])
    row = dict(zip(heading, values, strict=True))
    places = {"noise": (0, 1, 2), "blur": (3, 4, 5, 6), "weather": (7, 8, 9, 10), "digital": (11, 12, 13, 14)}
    for group, own in places.items():
        assert row[f"{group}, %"] == f"{80 - 12 - statistics.mean(own):.2f}"
    only = fake_robustness(0, names=("gaussian_noise", "fog"))
    assert group_cells([only])[0] == ["network", "noise, %", "weather, %"]
    assert over_group(only, "blur") is None


def test_spread_is_over_the_seeds_of_one_setting(fake_robustness: Callable) -> None:
    records = [fake_robustness(number) for number in (0, 1, 2)]
    both, single = _cells(robustness_spread_table(records))
    assert both["model, method, constraint"] == "resnet20, irnet, none"
    assert (both["runs"], single["runs"]) == ("2", "1")
    assert both["clean, %"] == "81.50 ± 0.71"
    assert both["under noise, %"] == "61.50 ± 0.71"
    assert single["under noise, %"] == "63.00"
    assert both["flips, %"] == "–"
    assert has_seeds(records)
    assert not has_seeds(records[1:])
    apart = [{**record, "setting": f"wbits {n}"} for n, record in enumerate(records[:2])]
    rows = _cells(robustness_spread_table(apart))
    assert [row["model, method, constraint"] for row in rows] == [
        "resnet20, irnet, none, wbits 0",
        "resnet20, irnet, none, wbits 1",
    ]
    assert not has_seeds(apart)


def test_the_spread_over_seeds() -> None:
    mean, deviation = spread([90.0, 92.0, 97.0])
    assert (mean, deviation) == (pytest.approx(93), pytest.approx(np.std([90, 92, 97], ddof=1)))
    assert spread([90.0]) == (90, None)


def test_accuracy_under_attack_is_a_figure_where_it_was_measured(fake_robustness: Callable) -> None:
    attacked = [fake_robustness(n, worst_case={"2/255": 30.0 + n, "8/255": 10.0}) for n in (0, 1)]
    first, second, none = _cells(robustness_table([*attacked, fake_robustness(2)]))
    assert list(first)[-2:] == ["worst case 2/255, %", "worst case 8/255, %"]
    assert [row["worst case 2/255, %"] for row in (first, second, none)] == ["30.00", "31.00", "–"]
    both, single = _cells(robustness_spread_table([*attacked, fake_robustness(2)]))
    assert (both["worst case 2/255, %"], single["worst case 2/255, %"]) == ("30.50 ± 0.71", "–")


def test_the_csv_has_a_line_for_each_accuracy(fake_robustness: Callable) -> None:
    flips = {"fog": {"1": 12.5}}
    records = [
        fake_robustness(0, severities=("1", "3")),
        fake_robustness(2, severities=("1", "3"), flip_rate=flips),
    ]
    lines = list(csv.DictReader(io.StringIO(robustness_csv(records))))
    assert len(lines) == 2 * (1 + 19 * 2)
    clean = [line for line in lines if line["corruption"] == "none"]
    assert [(line["severity"], float(line["accuracy"]), line["low"]) for line in clean] == [
        ("0", 81.0, ""),
        ("0", 83.0, ""),
    ]
    found = {(line["run"], line["corruption"], line["severity"]): line for line in lines}
    for record in records:
        for name, own in record["accuracy"].items():
            for severity, value in own.items():
                line = found[record["run"], name, severity]
                assert [float(line[key]) for key in ("accuracy", "low", "high")] == [
                    value,
                    value - 2,
                    value + 1,
                ]
                assert float(line["ece"]) == 4 + int(severity)
                assert line["in_benchmark"] == str(
                    name not in ("speckle_noise", "gaussian_blur", "spatter", "saturate")
                )
    assert found["runs/l1inf-2", "fog", "1"]["flip_rate"] == "12.5"
    assert found["runs/l1inf-2", "fog", "3"]["flip_rate"] == ""
    assert found["runs/l1inf-2", "fog", "3"]["group"] == "weather"


def test_corruptions_stand_group_by_group(fake_robustness: Callable) -> None:
    record = fake_robustness(0)
    record["accuracy"]["rain"] = {"1": 10.0}
    names = corruptions_of([record])
    assert names[:5] == ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "defocus_blur"]
    assert names[-2:] == ["saturate", "rain"]
    assert group_of("rain") == "other"
    assert sorted(names) == sorted(record["accuracy"])


def test_the_worst_corruptions_have_the_lowest_means(fake_robustness: Callable) -> None:
    record = fake_robustness(0)
    record["accuracy"]["fog"] = dict.fromkeys("12345", 3.0)
    record["accuracy"]["snow"] = dict.fromkeys("12345", math.nan)  # measured, but no number
    assert worst_corruptions(record, 2) == [("fog", 3.0), ("saturate", 80 - 18 - 12.0)]


@pytest.mark.parametrize("make", [robustness_table, robustness_spread_table, robustness_csv])
def test_records_that_cannot_be_compared_are_refused(fake_robustness: Callable, make: Callable) -> None:
    with pytest.raises(ValueError, match="at least one record"):
        make([])
    with pytest.raises(
        ValueError, match="l1inf, seed 0 and irnet, none, seed 0 differ in severities: 1, 3 and 1, 2"
    ):
        make([fake_robustness(0), fake_robustness(2, severities=("1", "3"))])
    with pytest.raises(ValueError, match="differ in benchmark"):
        make([fake_robustness(0), fake_robustness(1, names=("fog",))])
