"""Plots are drawn whole, at page width, whatever the run looks like."""

import io
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from bnnjax.report.run.pictures import Examples, confusion_matrix, row_percent, worst_examples
from bnnjax.report.run.plots import bounds, curves
from bnnjax.report.style.theme import DARK, LIGHT, png_bytes


def _pixels(figure: object) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png_bytes(figure, dpi=60))).convert("RGB"))  # type: ignore[arg-type]


def _assert_drawn(figure: object, least_share: float = 0.005) -> None:
    pixels = _pixels(figure)
    assert pixels.shape[1] == 600
    assert (pixels != pixels[0, 0]).any(axis=-1).mean() > least_share


@pytest.mark.parametrize("epochs", [1, 12, 400])
def test_curves_show_every_epoch(fake_run: Callable, epochs: int) -> None:
    metrics = fake_run(epochs=epochs).metrics
    figure = curves(metrics, best_epoch=1)
    _assert_drawn(figure)
    accuracy = figure.axes[0]
    line = next(line for line in accuracy.lines if line.get_label() == "validation")
    np.testing.assert_allclose(line.get_ydata(), [record["validation_accuracy"] for record in metrics])
    ticks = [
        tick for tick in accuracy.get_xticks() if accuracy.get_xlim()[0] <= tick <= accuracy.get_xlim()[1]
    ]
    assert 1 <= len(ticks) <= 10
    assert all(tick == round(tick) for tick in ticks)
    assert all(axes.get_ylabel() for axes in figure.axes)


def test_curves_without_penalty_say_so(fake_run: Callable) -> None:
    metrics = [record | {"penalty": 0.0} for record in fake_run(epochs=3).metrics]
    penalty = next(axes for axes in curves(metrics).axes if axes.get_title(loc="left") == "Penalty")
    assert [text.get_text() for text in penalty.texts] == ["none in this run"]
    assert not penalty.lines


def test_curves_of_incomplete_records(fake_run: Callable) -> None:
    metrics = fake_run(epochs=4).metrics
    metrics[2] |= {"loss": math.nan, "log_lipschitz_bound": -math.inf, "penalty": None}
    del metrics[0]["validation_accuracy"]
    figure = curves(metrics)
    _assert_drawn(figure)
    labels = figure.axes[1].get_legend_handles_labels()[1]
    assert labels.count("not finite") == 1
    _assert_drawn(curves([{"loss": math.nan}]))


def test_a_staircase_of_learning_rates_gets_a_log_axis_and_a_cosine_does_not(fake_run: Callable) -> None:
    metrics = fake_run(epochs=30).metrics
    stairs = [record | {"learning_rate": 0.1 ** (1 + index // 10)} for index, record in enumerate(metrics)]
    assert curves(metrics).axes[4].get_yscale() == "linear"
    assert curves(stairs).axes[4].get_yscale() == "log"


def test_epochs_with_units_off_are_shaded(fake_run: Callable) -> None:
    metrics = fake_run(epochs=6).metrics
    for index in (1, 2, 5):
        metrics[index]["units_off"] = 1
    bound = curves(metrics).axes[3]
    spans = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in bound.patches]  # type: ignore[attr-defined]
    assert spans == [(1.5, 3.5), (5.5, 6.5)]
    assert bound.get_legend_handles_labels()[1] == ["some units are dead"]


@pytest.mark.parametrize("count", [1, 20])
def test_bounds_have_a_row_a_unit(fake_run: Callable, count: int) -> None:
    units = fake_run(units=count).units
    figure = bounds(units)
    _assert_drawn(figure)
    norms, ratios = figure.axes
    assert [label.get_text() for label in norms.get_yticklabels()] == [unit["unit"] for unit in units]
    ends = {round(bar.get_y() + bar.get_height() / 2): bar.get_x() + bar.get_width() for bar in norms.patches}  # type: ignore[attr-defined]
    assert ends == pytest.approx({row: unit["l1inf"] for row, unit in enumerate(units)})
    # Rows need room for a line of text of 9 points.
    height = norms.get_window_extent().height / figure.dpi / count
    assert height > 9 / 72
    assert ratios.get_xlim()[1] >= 1


def test_names_of_units_do_not_overlap(fake_run: Callable) -> None:
    figure = bounds(fake_run(units=60).units)
    _pixels(figure)
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert all(above.y0 >= below.y1 for above, below in itertools.pairwise(boxes))


def test_units_that_are_off_or_broken_get_words(fake_run: Callable) -> None:
    units = fake_run(units=6, off=(1,)).units
    units[2] |= {"l1inf": 0.0, "off": True, "tightness": math.nan, "spectral": 0.0, "spectral_bound": 0.0}
    units[3] |= {"l1inf": math.inf}
    del units[4]["l1inf"], units[4]["spectral"], units[4]["tightness"]
    figure = bounds(units)
    _assert_drawn(figure)
    words = [text.get_text() for text in figure.axes[0].texts]
    assert words == ["dead (norm 4e-05)", "dead (norm 0)", "norm not finite", "no norm recorded"]
    assert len(figure.axes[0].patches) == 2
    # A unit that is off must not stretch the axis over the decades down to its norm.
    assert figure.axes[0].get_xlim()[0] > 1e-2


def test_bounds_of_units_that_are_all_off() -> None:
    _assert_drawn(bounds([{"unit": "a", "l1inf": 0.0, "off": True}]), 0.001)


def test_worst_examples_come_worst_first(fake_examples: Callable[..., Examples]) -> None:
    examples = fake_examples(10)._replace(losses=np.array([1.0, 9.0, np.nan, 3, 4, 5, 6, 7, 8, 2]))
    figure = worst_examples(examples, most=3)
    _assert_drawn(figure, 0.1)
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert len(shown) == 3
    for image, index in zip(shown, (2, 1, 8), strict=True):
        np.testing.assert_array_equal(image, examples.images[index])
    true, predicted = (text.get_text() for text in figure.axes[0].texts)
    assert true == examples.class_names[examples.labels[2]]
    assert predicted.startswith(examples.class_names[examples.predictions[2]])
    assert predicted.endswith("%")


def test_right_and_wrong_predictions_differ_in_colour(fake_examples: Callable[..., Examples]) -> None:
    examples = fake_examples(2)._replace(labels=np.array([1, 1]), predictions=np.array([1, 2]))
    figure = worst_examples(examples._replace(losses=np.array([2.0, 1.0])))
    assert [axes.texts[1].get_color() for axes in figure.axes[:2]] == [LIGHT.first, LIGHT.second]


def test_grey_images_and_unknown_classes(fake_examples: Callable[..., Examples]) -> None:
    figure = worst_examples(fake_examples(3, channels=1)._replace(class_names=()))
    _assert_drawn(figure, 0.1)
    # Not even in a single row may the words above the images leave the figure.
    assert max(text.get_window_extent().y1 for text in figure.axes[0].texts) <= figure.bbox.y1


@pytest.mark.parametrize("field", ["images", "labels", "losses"])
def test_examples_that_cannot_be_drawn_are_refused(
    fake_examples: Callable[..., Examples], field: str
) -> None:
    examples = fake_examples(4)
    wrong = examples.images.astype(np.float32) if field == "images" else getattr(examples, field)[:2]
    with pytest.raises(ValueError, match="images"):
        worst_examples(examples._replace(**{field: wrong}))


@pytest.mark.parametrize("classes", [2, 10, 100, 1000])
def test_confusion_of_any_size(classes: int) -> None:
    counts = np.eye(classes, dtype=int) * 40 + 1
    figure = confusion_matrix(counts, [f"class {index}" for index in range(classes)])
    _assert_drawn(figure, 0.1)
    axes = figure.axes[0]
    assert len(axes.get_xticks()) <= 40
    assert len(axes.texts) == (classes * classes if classes <= 20 else 0)


def test_rows_of_the_confusion_add_to_100_percent() -> None:
    percent = row_percent(np.array([[3, 1], [0, 0]]))
    np.testing.assert_allclose(percent[0], [75, 25])
    assert np.isnan(percent[1]).all()
    _assert_drawn(confusion_matrix(np.array([[3, 1], [0, 0]])), 0.1)


@pytest.mark.parametrize(
    "counts", [np.ones((2, 3)), np.ones(4), np.array([[1.0, np.nan], [0, 1]]), -np.eye(2)]
)
def test_confusion_that_is_none_is_refused(counts: np.ndarray) -> None:
    with pytest.raises(ValueError, match="square matrix"):
        confusion_matrix(counts)


def test_dark_plots_are_dark(fake_run: Callable) -> None:
    units = fake_run(units=2).units
    assert _pixels(bounds(units, theme=DARK)).mean() < 80
    assert _pixels(bounds(units, theme=LIGHT)).mean() > 200


def test_drawing_leaves_pyplot_alone(fake_run: Callable) -> None:
    import matplotlib.pyplot

    curves(fake_run().metrics)
    assert matplotlib.pyplot.get_fignums() == []
