"""Accuracies under attack as a table, a figure and a section."""

from typing import Any

import pytest
from rich.console import Console

from bnnjax.report.robustness.attacks import attacks_figure, attacks_html, attacks_table

SENTENCE = "The black box beats the white box at eps 8/255: accuracy 40.0 %, 50.0 % after <gradients>."


def record(name: str, transfer: float | None, masking: list[str]) -> dict[str, Any]:
    def at(accuracy: float) -> dict[str, Any]:
        return {
            "clean": 90.0,
            "fgsm": accuracy + 5,
            "pgd_linf": accuracy + 1,
            "apgd_ce": accuracy,
            "apgd_dlr": accuracy + 2,
            "square": accuracy + 3,
            "transfer": transfer,
            "worst_case": accuracy - 1,
            "worst_case_interval": [accuracy - 4, accuracy + 2],
        }

    return {
        "run": f"runs/{name}",
        "images": 256,
        "steps": 20,
        "queries": 300,
        "eps": {"2/255": at(70.0), "8/255": at(50.0)},
        "pgd_l2": {"0.5": 44.0},
        "temperature": {"chosen": {"surrogate": None if masking else 0.3, "logits": 1.25}},
        "ladder": {
            eps: {"accuracy": accuracy, "loss": loss}
            for eps, accuracy, loss in (("0", 90.0, 0.1), ("8/255", 50.0, 2.0), ("1", 0.0, 40.0))
        },
        "masking": masking,
    }


RECORDS = [record("one", None, []), record("two", 66.0, [SENTENCE])]


@pytest.mark.parametrize("width", [80, 200])
def test_the_table_has_a_row_an_attack_and_the_sentences_below(width: int) -> None:
    said = []
    for each in RECORDS:
        console = Console(width=width)
        with console.capture() as capture:
            console.print(attacks_table(each))
        said.append(capture.get())
    lines = [line.split() for line in said[1].splitlines()]
    for expected in (
        "attack 2/255 8/255 L2 0.5",
        "none 90.0 90.0",
        "PGD 71.0 51.0 44.0",
        "APGD-DLR 72.0 52.0",
        "transfer 66.0 66.0",
        "worst case 69.0 49.0",
        "95 % interval 66.0 to 72.0 46.0 to 52.0",
    ):
        assert expected.split() in lines
    assert ["transfer", "–", "–"] in [line.split() for line in said[0].splitlines()]
    one, two = (" ".join(text.split()) for text in said)
    assert one.startswith("one under attack")
    assert "No sign of masked gradients." in one
    assert SENTENCE in two
    assert "256 test images, 20 steps, 300 queries; surrogate gradients of temperature 0.3, logits" in one
    assert "the gradients it was trained with, logits" in two


def test_the_figure_has_a_line_a_run_and_a_mark_an_attack() -> None:
    figure = attacks_figure(RECORDS)
    accuracy, loss = figure.axes
    lines = {line.get_label(): line for line in accuracy.get_lines()}
    assert [*lines["two"].get_xdata()] == [0, 8, 255]
    assert [*lines["two"].get_ydata()] == [90, 50, 0]
    assert [*lines["APGD-CE"].get_xdata()] == [2, 8]
    assert [*lines["APGD-CE"].get_ydata()] == [70, 50]
    assert "transfer" not in lines  # the first run has no twin
    assert [*loss.get_lines()[0].get_ydata()] == [0.1, 2, 40]


def test_the_section_says_in_words_what_it_found() -> None:
    section = attacks_html(RECORDS)
    assert section.startswith("<section><h2>Attacks</h2><figure>")
    assert section.endswith("</section>")
    assert section.count("data:image/png;base64,") == 2
    assert '<p class="warning">two: The black box beats' in section
    assert "after &lt;gradients&gt;." in section
    assert "one: No sign of masked gradients." in section
    assert "<td>69.0</td>" in section
