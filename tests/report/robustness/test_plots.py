"""Figures of accuracy under noise show the records' numbers, whatever the number of runs."""

import io
import math
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from bnnjax.report.robustness.examples import corruption_examples
from bnnjax.report.robustness.plots import curves_caption, map_caption, robustness_map, severity_curves
from bnnjax.report.robustness.section import noise_drawings, noise_figure, quick_caption, robustness_section
from bnnjax.report.robustness.tables import corruptions_of
from bnnjax.report.style.theme import DARK, LIGHT, png_bytes


def _pixels(figure: object) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png_bytes(figure, dpi=60))).convert("RGB"))  # type: ignore[arg-type]


@pytest.mark.parametrize("runs", [1, 12])
def test_curves_go_through_the_accuracies(fake_robustness: Callable, runs: int) -> None:
    records = [fake_robustness(number) for number in range(runs)]
    figure = severity_curves(records)
    mean, *panels = [axes for axes in figure.axes if axes.get_visible()]
    assert len(panels) == 19
    for axes, name in zip(panels, corruptions_of(records), strict=True):
        extra = " (extra)" if name in ("speckle_noise", "gaussian_blur", "spatter", "saturate") else ""
        assert axes.get_title(loc="left") == name.replace("_", " ") + extra
        assert len(axes.lines) == len(axes.collections) == runs
        for line, band, record in zip(axes.lines, axes.collections, records, strict=True):
            own = [*record["accuracy"][name].values()]
            assert [*line.get_xdata()] == [0, 1, 2, 3, 4, 5]
            assert [*line.get_ydata()] == [record["clean_accuracy"], *own]
            corners = {(x, y) for x, y in band.get_paths()[0].vertices}
            assert {(5.0, own[-1] - 2), (5.0, own[-1] + 1), (1.0, own[0] - 2)} <= corners
    assert mean.get_title(loc="left") == "mean of 15"
    for line, record in zip(mean.lines, records, strict=True):
        np.testing.assert_allclose(
            line.get_ydata()[1:], [80 - 7 + records.index(record) - 4 * s for s in range(1, 6)]
        )
    looks = {(to_hex(line.get_color()), str(line._unscaled_dash_pattern)) for line in mean.lines}  # type: ignore[attr-defined]
    assert len(looks) == runs
    assert [text.get_text() for text in figure.legends[0].texts] == [record["label"] for record in records]


def test_curves_of_few_severities_and_missing_values(fake_robustness: Callable) -> None:
    record = fake_robustness(0, names=("fog", "snow"), severities=("1", "5"), intervals=None)
    record["accuracy"]["fog"]["5"] = None
    mean, fog, snow = severity_curves([record], theme=DARK).axes
    assert not fog.collections
    assert [*fog.lines[0].get_xdata()] == [0, 1, 5]
    assert math.isnan(fog.lines[0].get_ydata()[2])
    assert math.isnan(mean.lines[0].get_ydata()[2])  # no mean of what is not there
    assert np.isfinite(snow.lines[0].get_ydata()).all()


@pytest.mark.parametrize("runs", [1, 3, 4, 12])
def test_the_map_has_a_cell_for_each_accuracy(fake_robustness: Callable, runs: int) -> None:
    records = [fake_robustness(number) for number in range(runs)]
    figure = robustness_map(records)
    panels = [axes for axes in figure.axes if axes.images and axes.get_title(loc="left")]
    assert len(panels) == runs
    names = corruptions_of(records)
    lying = runs <= 3
    for axes, record in zip(panels, records, strict=True):
        expected = np.array([[*record["accuracy"][name].values()] for name in names])
        np.testing.assert_array_equal(axes.images[0].get_array(), expected.T if lying else expected)
        assert axes.images[0].get_clim() == (80 - 18 - 20, 80 + runs - 1 - 4)
        cells = {
            (round(text.get_position()[0]), round(text.get_position()[1])): text.get_text()
            for text in axes.texts
        }
        for (row, column), value in np.ndenumerate(expected):
            assert cells[(row, column) if lying else (column, row)] == f"{value:.0f}"
        assert axes.get_title(loc="left").replace("\n", " ") == record["label"]
    labels = panels[-1].get_xticklabels() if lying else panels[0].get_yticklabels()
    assert [label.get_text() for label in labels[2:4]] == ["impulse noise", "speckle noise (extra)"]


def test_the_map_leaves_empty_what_was_not_measured(fake_robustness: Callable) -> None:
    record = fake_robustness(0, names=("fog", "snow"), severities=("1", "5"))
    record["accuracy"]["fog"]["5"] = math.nan
    axes = robustness_map([record]).axes[0]
    assert len(axes.texts) == 3
    nothing = fake_robustness(0, names=("fog",), severities=("1",))
    nothing["accuracy"]["fog"]["1"] = None
    assert robustness_map([nothing]).axes[0].images[0].get_clim() == (0, 100)
    assert "Hardest" not in map_caption([nothing])


def test_examples_are_the_images_in_two_blocks(fake_corrupted: Callable) -> None:
    images = fake_corrupted()
    del images["fog"]["3"]
    figure = corruption_examples(images)
    left, right = figure.axes
    assert right.get_yticklabels()[0].get_text() == "brightness"
    assert len(left.get_yticklabels()) == 10
    assert [label.get_text() for label in left.get_xticklabels()] == ["no noise", *"12345"]
    shown = [np.asarray(image.get_array()) for image in (*left.images, *right.images)]
    expected = [image for own in images.values() for _, image in sorted(own.items())]
    assert len(shown) == 19 * 6 - 1
    for found, image in zip(shown, expected, strict=True):
        np.testing.assert_array_equal(found, image)
    assert all(image.get_interpolation() == "nearest" for image in left.images)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_crisp_and_whole(fake_corrupted: Callable, channels: int) -> None:
    """All cells of an image of two colours have one of them: nothing is blurred or overlaps."""
    images = fake_corrupted(("fog",), "05", channels)
    for image in images["fog"].values():
        image[:] = 255 * (np.indices(image.shape[:2]).sum(0) % 2)[..., None]
    pixels = _pixels(corruption_examples(images))
    colors = {tuple(color) for color in pixels[60:80, 100:110].reshape(-1, 3)}
    assert colors == {(0, 0, 0), (255, 255, 255)}


def test_images_that_cannot_be_drawn_are_refused(fake_corrupted: Callable) -> None:
    with pytest.raises(ValueError, match="at least one image"):
        corruption_examples({})
    images = fake_corrupted(("fog", "snow"), "01")
    with pytest.raises(ValueError, match=r"uint8 \[h, w, 1 or 3\], got float64 \(8, 8, 3\)"):
        corruption_examples({"fog": {"1": images["fog"]["1"] / 255}})
    with pytest.raises(ValueError, match=r"one shape, got \(8, 8, 3\) and \(7, 8, 3\)"):
        corruption_examples(images | {"snow": {"1": images["snow"]["1"][1:]}})


def test_the_quick_figure_has_means_by_group_and_the_map(fake_robustness: Callable) -> None:
    record = fake_robustness(0, severities=("1", "3", "5"))
    curves, single, _ = noise_figure(record, theme=LIGHT).axes
    lines = {line.get_label(): [*line.get_ydata()] for line in curves.lines}
    assert list(lines) == ["all 15", "noise", "blur", "weather", "digital"]
    assert lines["noise"] == [81, 75, 67, 59]
    assert lines["all 15"] == pytest.approx([81, 69, 61, 53])
    assert np.asarray(single.images[0].get_array()).shape == (3, 19)


def test_the_section_says_what_is_worst_and_that_it_is_quick(
    fake_robustness: Callable, fake_corrupted: Callable
) -> None:
    record = fake_robustness(0, severities=("1", "3"))
    section = robustness_section(record)
    assert section.strip == [
        ("accuracy under noise", "65.00%"),
        ("lost to noise", "16.0 points"),
        ("hardest noise", "54.0% saturate"),
        ("calibration error under noise", "7.25%"),
    ]
    assert section.rows["worst three"] == "saturate (54.0%), spatter (55.0%), gaussian blur (56.0%)"
    assert section.rows["mean accuracy under noise, percent"] == "65.00 (64.50 to 65.25)"
    assert list(noise_drawings(record, fake_corrupted())) == ["noise.png", "corrupted.png"]
    caption = quick_caption(record)
    assert "quick version, on 1,234 test images and at severities 1, 3" in caption
    assert "Hardest is saturate, 54.0% on average." in caption
    assert list(noise_drawings(record, None)) == ["noise.png"]
    empty = fake_robustness(0, names=("fog",), severities=("1",), mean_corruption_accuracy=None)
    empty["accuracy"]["fog"]["1"] = None
    assert [value for _, value in robustness_section(empty).strip[:3]] == ["–", "–", "–"]


def test_captions_name_the_best_run(fake_robustness: Callable) -> None:
    records = [fake_robustness(number) for number in (0, 3, 1)]
    assert curves_caption(records).endswith("irnet, l1inf, seed 1 keeps the most, 64.0% on average.")
    assert "keeps the most" not in curves_caption(records[:1])
    assert "Bands" in curves_caption(records)
    assert "Bands" not in curves_caption([fake_robustness(0, intervals=None)])
    # 80 - 18 - 12 and the mean 4/3 of the numbers of the runs
    assert map_caption(records).endswith("Hardest is saturate, 51.3% on average over 3 runs.")
