"""Comparison tables: what their cells say, and that Markdown, CSV and LaTeX say the same."""

import csv
import io
import re
from typing import Any

import pytest

from bnnjax.report.studies.published_table import (
    cells,
    comparison_csv,
    comparison_latex,
    comparison_page,
    comparison_table,
    flat,
    latex_text,
)
from bnnjax.report.style.formatting import bytes_text


def summary(accuracy: float, **more: Any) -> dict[str, Any]:
    return {
        "test_accuracy": accuracy,
        "test_top5_accuracy": 99.0,
        "log_lipschitz_bound": 2 * accuracy,
        "constraint": "none",
        "parameters": 272_474,
        "model_bytes": 34_567,
        "epochs": 12,
        "train_seconds": 90.0,
        "devices": 1,
        "device_kind": "cpu",
        "cpu_cores": 2,
        "learning_rate": 0.1,
        "data_source": "here",
        "git_revision": "abc",
        "versions": {"jax": "0.10.2"},
        **more,
    }


def record(**more: Any) -> dict[str, Any]:
    return {
        "name": "resnet20-irnet-1-1-plain",
        "topology": "resnet20",
        "method": "irnet",
        "structure": "plain",
        "wbits": 1,
        "abits": 1,
        "top1": 85.4,
        "top5": None,
        "published_on": "cifar10",
        "source": "somewhere",
        "confirmed_by": "elsewhere",
        "diverged": 0,
        "summaries": [summary(80.0), summary(82.0), summary(87.0)],
        **more,
    }


def test_cells_of_a_finished_row() -> None:
    assert cells(record(), with_top5=False) == {
        "topology": "resnet20",
        "method": "irnet",
        "structure": "plain",
        "bits W/A": "1/1",
        # (80 + 82 + 87) / 3; deviations -3, -1, 4: sqrt(26 / 2)
        "test accuracy, %": "83.00 ± 3.61 (3 runs)",
        "published on cifar10, %": "85.4",
        "source": "somewhere",
        "parameters": "272,474",
        "1-bit size": "34.6 kB",
        "epochs": "12",
        "pretrained": "no",
        "hardware": "1 x cpu (2 cores)",
        "time a run": "1 min 30 s",
    }


@pytest.mark.parametrize(
    ("change", "column", "text"),
    [
        ({"summaries": [summary(80.0)]}, "test accuracy, %", "80.00 (1 run)"),
        ({"summaries": [], "diverged": 2}, "test accuracy, %", "– (0 runs, 2 diverged)"),
        ({"summaries": []}, "1-bit size", "–"),
        ({"confirmed_by": ""}, "published on cifar10, %", "85.4 †"),
        ({"top1": 93.0}, "published on cifar10, %", "93.0"),
        ({"top1": 86.75}, "published on cifar10, %", "86.75"),
        ({"top1": None, "source": "", "confirmed_by": ""}, "published on cifar10, %", "–"),
        ({"top1": None, "source": "", "confirmed_by": ""}, "source", "–"),
        ({"summaries": [summary(80.0, pretrained="a/run", pretrained_epochs=8)]}, "pretrained", "8 epochs"),
        ({"summaries": [summary(80.0), summary(80.0, epochs=8)]}, "epochs", "12, 8"),
        (
            {"summaries": [summary(80.0, devices=8, device_kind="NVIDIA H100"), summary(81.0)]},
            "hardware",
            "8 x NVIDIA H100; 1 x cpu (2 cores)",
        ),
    ],
)
def test_cells_of_other_rows(change: dict[str, Any], column: str, text: str) -> None:
    assert cells(record(**change), with_top5=False)[column] == text


def test_top5_stands_behind_top1_where_any_row_has_it() -> None:
    row = cells(record(top5=97.1), with_top5=True)
    assert row["test accuracy, %"] == "83.00 ± 3.61 / 99.00 ± 0.00 (3 runs)"
    assert row["published on cifar10, %"] == "85.4 / 97.1"
    assert cells(record(), with_top5=True)["published on cifar10, %"] == "85.4 / –"
    assert " / " not in comparison_table([record()])
    assert comparison_table([record(), record(top5=97.1)]).count(" / ") == 4


def test_markdown_is_aligned_and_the_page_tells_recipe_and_command() -> None:
    records = [record(), record(name="b", method="a_long_name", confirmed_by="")]
    lines = comparison_table(records).splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    assert {line.count("|") for line in lines} == {14}
    page = comparison_page("table3 on digits", "python table3.py --rows all", records)
    assert page.startswith("# table3 on digits\n\n    python table3.py --rows all\n\n| topology")
    assert "learning rate 0.1" in page
    assert "epochs 12" in page
    assert "jax 0.10.2, revision abc" in page


def test_csv_reads_back_as_numbers() -> None:
    text = comparison_csv([record(), record(name="b", top1=None, summaries=[])])
    one, two = csv.DictReader(io.StringIO(text))
    assert one["row"] == "resnet20-irnet-1-1-plain"
    assert float(one["test_accuracy_mean"]) == 83.0
    assert float(one["test_accuracy_std"]) == pytest.approx(13**0.5)
    assert float(one["log_lipschitz_bound_mean"]) == 166.0
    assert float(one["published_top1"]) == 85.4
    assert int(one["model_bytes"]) == 34_567
    assert (two["test_accuracy_mean"], two["published_top1"], two["runs"]) == ("", "", "0")
    assert list(one) == list(flat(record()))


def test_latex_is_a_tabular_of_the_same_cells_with_nothing_left_unescaped() -> None:
    text = comparison_latex([record(confirmed_by="", source="R&D_{100%}")])
    lines = text.splitlines()
    assert lines[0] == r"\begin{tabular}{lllllllllllll}"
    assert [lines[1], lines[3], *lines[-2:]] == [r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}"]
    row = lines[4].removesuffix(r" \\").split(" & ")
    assert len(row) == 13
    assert row[4] == r"83.00 $\pm$ 3.61 (3 runs)"
    assert row[5] == r"85.4 $^\dagger$"
    assert row[6] == r"R\&D\_\{100\%\}"
    assert not re.search(r"[^\x00-\x7f]", text)


def test_latex_escapes_each_character_once() -> None:
    assert latex_text(r"\&~^#$") == r"\textbackslash{}\&\textasciitilde{}\textasciicircum{}\#\$"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (34_567, "34.6 kB"), (2_130_000, "2.13 MB"), (None, "–")],
)
def test_sizes(size: int | None, text: str) -> None:
    assert bytes_text(size) == text
