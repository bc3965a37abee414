"""The study of a constraint as a table, a page and a figure."""

from typing import Any

import pytest

from bnnjax.report.studies.l1inf import (
    best_strength,
    constraint_study_csv,
    constraint_study_figure,
    constraint_study_page,
    constraint_study_table,
)


def record(
    name: str, form: str, amount: float | None, runs: int, accuracy: float, **more: Any
) -> dict[str, Any]:
    def under(base: float) -> dict[str, Any]:
        return {"gaussian_noise": {"1": base, "5": base - 10}, "gaussian_blur": {"1": base, "5": base - 2}}

    return {
        "name": name,
        "form": form,
        "target": None if form == "none" else "folded",
        "amount": amount,
        "diverged": 0,
        "summaries": [
            {
                "validation_accuracy": accuracy + run,
                "test_accuracy": accuracy - 1 + run,
                "log_lipschitz_bound": 50.0 + run,
                "units_off": run,
                "epochs": 12,
                "train_examples": 10_000,
                "batch_size": 128,
                "learning_rate": 0.1,
                "git_revision": "abc",
            }
            for run in range(runs)
        ],
        "noise": [
            {
                "severities": [1, 5],
                "images": {"validation": 100, "test": 200},
                "validation": under(accuracy + run),
                "test": under(accuracy - 1 + run),
            }
            for run in range(runs)
        ],
        **more,
    }


RECORDS = [
    record("none", "none", None, 2, 60.0),
    record("soft-folded-0.001", "soft", 0.001, 2, 61.0),
    record("soft-folded-0.01", "soft", 0.01, 2, 58.0),
    record("soft-gain-0.001", "soft", 0.001, 2, 70.0, target="gain"),
    record("hard-3", "hard", 3.0, 1, 50.0, diverged=1),
    record("hard-30", "hard", 30.0, 0, 0.0),
]


def test_the_table_has_means_and_deviations() -> None:
    lines = constraint_study_table(RECORDS).splitlines()
    assert len({len(line) for line in lines}) == 1
    heading, _, none, *_, hard, empty = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines
    ]
    cells = dict(zip(heading, none, strict=True))
    assert (cells["setting"], cells["runs"]) == ("none", "2")
    assert cells["validation, %"] == "60.50 ± 0.71"
    assert cells["test under noise, %"] == "56.50 ± 0.71"  # mean of -10, 0, -2, 0 is -3
    assert cells["gaussian noise"] == "54.50 ± 0.71"
    assert cells["dead units"] == "0.50 ± 0.71"
    assert dict(zip(heading, hard, strict=True))["runs"] == "1, 1 diverged"
    assert dict(zip(heading, hard, strict=True))["test, %"] == "49.00"
    assert empty[2:] == ["–"] * (len(heading) - 2)


def test_the_best_strength_is_chosen_on_validation_images_of_the_folded_form() -> None:
    assert best_strength(RECORDS) is RECORDS[1]
    assert best_strength(RECORDS[4:]) is None
    page = constraint_study_page("Title", "python this", RECORDS)
    assert page.startswith("# Title\n\n    python this\n\n| setting ")
    assert "soft-folded-0.001 has the highest validation accuracy under noise, 58.50 %." in page
    assert "on 100 validation and 200 test images" in page


def test_the_csv_has_a_line_a_setting() -> None:
    lines = constraint_study_csv(RECORDS).splitlines()
    assert len(lines) == 7
    heading, soft = lines[0].split(","), lines[2].split(",")
    assert dict(zip(heading, soft, strict=True))["amount"] == "0.001"
    assert float(dict(zip(heading, soft, strict=True))["test_noise_mean"]) == pytest.approx(57.5)


def test_the_figure_has_a_line_a_target_and_the_band_of_no_constraint() -> None:
    figure = constraint_study_figure(RECORDS)
    soft, _, bound, hard, *_ = figure.axes
    assert soft.get_legend_handles_labels()[1] == ["no constraint", "folded", "gain"]
    folded = soft.get_legend_handles_labels()[0][1].lines[0]
    assert [*folded.get_xdata()] == [0.001, 0.01]
    assert [*folded.get_ydata()] == [60.5, 57.5]
    assert [*hard.get_legend_handles_labels()[0][1].lines[0].get_xdata()] == [3.0]
    assert [*bound.get_legend_handles_labels()[0][1].lines[0].get_ydata()] == [50.5, 50.5]
    assert len(constraint_study_figure(RECORDS[4:]).axes) == 6
