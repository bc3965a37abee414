"""The figure of a feature study shows the records' maps and shares."""

from typing import Any

import numpy as np
import pytest

from bnnjax.report.robustness.feature_maps import (
    feature_study_caption,
    feature_study_figure,
    run_names,
    shown_units,
)
from bnnjax.report.style.theme import DARK, png_bytes

NAMES = [f"block{number}/conv" for number in range(12)]


def record(number: int, names: list[str] = NAMES, flips: bool = True, **more: Any) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    units = {
        name: {
            "difference": rng.uniform(0, 9, (4, 4)).tolist(),
            "relative_difference": rng.uniform(0, 0.5, (4, 4)).tolist(),
            "flips_percent": 2.0 * place + number if flips else None,
        }
        for place, name in enumerate(names)
    }
    about = {"label": f"run {number}", "corruption": "shot_noise", "severity": 3, "images": 100}
    return about | {"units": units} | more


def test_the_units_shown_are_first_last_and_evenly_between() -> None:
    assert shown_units(list("abcdefghi"), 5) == list("acegi")
    assert shown_units(list("ab"), 5) == ["a", "b"]
    assert shown_units(["a"], 5) == ["a"]


@pytest.mark.parametrize("runs", [1, 2, 12])
def test_maps_are_on_one_scale_and_flips_are_lines(runs: int) -> None:
    records = [record(number) for number in range(runs)]
    figure = feature_study_figure(records)
    top, bottom = figure.subfigs
    shown = [axes for axes in top.axes if axes.images]
    units = shown_units(NAMES, 5 if runs < 5 else 7)
    assert len(shown) == runs * len(units)
    for place, axes in enumerate(shown):
        own = records[place // len(units)]["units"][units[place % len(units)]]
        np.testing.assert_array_equal(axes.images[0].get_array(), own["relative_difference"])
    assert len({axes.images[0].get_clim() for axes in shown}) == 1
    largest = max(np.max(r["units"][u]["relative_difference"]) for r in records for u in units)
    assert shown[0].images[0].get_clim() == (0, largest)
    (flips,) = bottom.axes
    assert [[*line.get_ydata()] for line in flips.lines] == [
        [2.0 * place + number for place in range(12)] for number in range(runs)
    ]
    assert [text.get_text() for text in bottom.legends[0].texts] == [r["label"] for r in records]


def test_networks_of_other_units_and_without_signs() -> None:
    full = record(1, ["stem", *NAMES[:2]], flips=False)
    full["units"]["stem"]["relative_difference"] = None  # all its inputs are 0
    figure = feature_study_figure([record(0, NAMES[:2]), full], theme=DARK)
    maps, flips = figure.subfigs
    assert [len(axes.images) for axes in maps.axes[:6]] == [1, 1, 0, 1, 1, 0]
    assert [axes.texts[0].get_text() for axes in maps.axes[:6] if axes.texts] == ["none", "none"]
    assert [line.get_label() for line in flips.axes[0].lines] == ["run 0"]
    alone = feature_study_figure([full]).subfigs[1].axes[0]
    assert [text.get_text() for text in alone.texts] == ["no signs in these networks"]
    assert len(png_bytes(figure, dpi=50)) > 1000


def test_the_caption_says_the_noise_and_the_mean_flips() -> None:
    caption = feature_study_caption([record(0), record(1, flips=False)])
    assert "How shot noise of severity 3 changes" in caption
    assert "on 100 images" in caption
    assert caption.endswith("Mean over units: run 0 11.0%.")
    assert run_names([record(0), record(0, severity=5)]) == ["run 0, shot noise 3", "run 0, shot noise 5"]


@pytest.mark.parametrize("records", [[], [record(0, [])]])
def test_nothing_to_draw_is_refused(records: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match=f"records with units, got {len(records)} record"):
        feature_study_figure(records)
