"""Plots of predictions: the worst examples and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bnnjax.report.style.formatting import number_text, shortened
from bnnjax.report.style.theme import LIGHT, SMALL_POINTS, Theme, color_bar, new_figure, style_axes, text_on

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Examples(NamedTuple):
    """Images with the network's predictions."""

    images: np.ndarray  # uint8 [n, h, w, c], c is 1 or 3
    labels: np.ndarray  # integer [n]
    predictions: np.ndarray  # integer [n]
    confidences: np.ndarray  # float [n], probability of the predicted class, 0 to 1
    losses: np.ndarray  # float [n]
    class_names: tuple[str, ...]


def worst_examples(examples: Examples, *, most: int = 24, theme: Theme = LIGHT) -> Figure:
    """Draws the images with the highest loss, worst first.

    Args:
      examples: any number of images in any order.
      most: how many to show.
      theme: colours.

    Returns:
      The figure, with eight images per row.

    Raises:
      ValueError: images are not uint8 [n, h, w, 1 or 3], or the arrays differ in length.
    """
    check_examples(examples)
    # A loss that is not finite is worse than any number.
    order = np.argsort(-np.nan_to_num(np.asarray(examples.losses, float), nan=np.inf), kind="stable")[:most]
    columns, side, words = 8, 1.16, 0.44  # images a row; inches of an image and of the words above it
    rows = max(1, -(-len(order) // columns))
    height = rows * (side + words) + 0.06
    # The constrained layout does not reserve space for words above an image, so it is set by hand.
    figure = new_figure(height, theme, constrained=False)
    figure.subplots_adjust(
        left=0.002,
        right=0.998,
        top=1 - words / height,
        bottom=0.06 / height,
        wspace=0.075,
        hspace=words / side,
    )
    grid = figure.subplots(rows, columns, squeeze=False).flat
    for axes, index in zip(grid, _padded(order, rows * columns), strict=True):
        axes.set_axis_off()
        if index is None:
            continue
        image = examples.images[index]
        axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
        label, prediction = int(examples.labels[index]), int(examples.predictions[index])
        confidence = number_text(100 * float(examples.confidences[index]), ".0f", "%")
        predicted = f"{shortened(class_name(examples.class_names, prediction), 12)} {confidence}"
        for words_up, text, weight, color in (
            (16, shortened(class_name(examples.class_names, label), 17), "normal", theme.muted),
            (4, predicted, "bold", theme.first if label == prediction else theme.second),
        ):
            axes.annotate(
                text, (0, 1), xycoords="axes fraction", xytext=(0, words_up), textcoords="offset points",
                fontsize=SMALL_POINTS, fontweight=weight, color=color, va="bottom",
            )  # fmt: skip
    return figure


def confusion_matrix(
    confusion: np.ndarray, class_names: Sequence[str] = (), *, theme: Theme = LIGHT
) -> Figure:
    """Draws how often each class is taken for each of the others.

    Args:
      confusion: counts [true class, predicted class].
      class_names: names in the order of the classes; numbers replace missing names.
      theme: colours.

    Returns:
      The figure: rows add to 100 percent; numbers are written into the cells up to 20 classes.

    Raises:
      ValueError: not a square matrix of finite counts.
    """
    from matplotlib.colors import PowerNorm

    percent = row_percent(confusion)
    classes = percent.shape[0]
    figure = new_figure(7.6, theme)
    axes = figure.subplots()
    style_axes(axes, theme, x="predicted class", y="true class", grid="")
    # The square root keeps a mistake of a few percent visible beside a diagonal of ninety.
    image = axes.imshow(
        percent, cmap=theme.map, norm=PowerNorm(0.5, vmin=0, vmax=100), interpolation="nearest"
    )
    names = [shortened(class_name(class_names, index), 14) for index in range(classes)]
    every = -(-classes // 40)  # more labels than that would overlap
    axes.set_xticks(range(0, classes, every), names[::every], rotation=0 if classes <= 6 else 90)
    axes.set_yticks(range(0, classes, every), names[::every])
    axes.tick_params(labelsize=SMALL_POINTS if classes <= 20 else SMALL_POINTS - 2)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if classes <= 20:
        for (row, column), value in np.ndenumerate(percent):
            if np.isfinite(value) and value >= 0.05:
                digits = 0 if value >= 9.95 or classes > 12 else 1
                axes.text(
                    column, row, f"{value:.{digits}f}", ha="center", va="center",
                    fontsize=SMALL_POINTS, color=text_on(image.cmap(image.norm(value))),
                )  # fmt: skip
    color_bar(figure, image, [axes], "percent of the true class", theme)
    return figure


def row_percent(confusion: np.ndarray) -> np.ndarray:
    """Returns each row of a confusion matrix in percent, NaN for a class without examples.

    Raises:
      ValueError: not a square matrix of finite counts.
    """
    counts = np.asarray(confusion, dtype=float)
    if (
        counts.ndim != 2
        or counts.shape[0] != counts.shape[1]
        or not np.isfinite(counts).all()
        or (counts < 0).any()
    ):
        raise ValueError(f"confusion must be a square matrix of counts, got shape {counts.shape}")
    totals = counts.sum(axis=1, keepdims=True)
    percent = np.full_like(counts, np.nan)
    np.divide(100 * counts, totals, out=percent, where=totals > 0)
    return percent


def class_name(class_names: Sequence[str], index: int) -> str:
    """Returns a class's name, or its number if it has none."""
    return class_names[index] if 0 <= index < len(class_names) else str(index)


def check_examples(examples: Examples) -> None:
    """Rejects arrays that cannot be drawn.

    Raises:
      ValueError: images are not uint8 [n, h, w, 1 or 3], or the arrays differ in length.
    """
    images = examples.images
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(f"images must be uint8 [n, h, w, 1 or 3], got {images.dtype} {images.shape}")
    lengths = {name: len(getattr(examples, name)) for name in examples._fields if name != "class_names"}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"examples must have as many images as labels and the rest, got {lengths}")


def _padded(order: np.ndarray, length: int) -> list[int | None]:
    return [int(index) for index in order] + [None] * (length - len(order))
