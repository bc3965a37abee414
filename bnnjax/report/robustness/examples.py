"""A figure of example images under every corruption and severity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from bnnjax.report.robustness.tables import spoken
from bnnjax.report.style.formatting import count_text
from bnnjax.report.style.theme import LIGHT, PAGE_INCHES, SMALL_POINTS, Theme, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# One image by corruption and severity as text, uint8 [h, w, 1 or 3]; severity 0 is without noise.
Corrupted = Mapping[str, Mapping[str, np.ndarray]]

NAMES, HEAD = 1.25, 0.34  # inches beside and above a block
GAP = 0.06  # between images, in parts of an image


def check_corrupted(images: Corrupted) -> None:
    """Rejects images that cannot be drawn side by side.

    Raises:
      ValueError: there is none, one is not uint8 [h, w, 1 or 3], or they differ in shape.
    """
    found = [image for by_severity in images.values() for image in by_severity.values()]
    if not found:
        raise ValueError("corruption examples need at least one image, got none")
    for image in found:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3):
            raise ValueError(f"images must be uint8 [h, w, 1 or 3], got {image.dtype} {image.shape}")
        if image.shape != found[0].shape:
            raise ValueError(f"images must have one shape, got {found[0].shape} and {image.shape}")


def severities_of(images: Corrupted) -> list[str]:
    """Returns all severities of the images, weakest first."""
    return sorted({severity for by_severity in images.values() for severity in by_severity}, key=int)


def corruption_examples(images: Corrupted, *, theme: Theme = LIGHT) -> Figure:
    """Draws an image under every corruption, one per row, with severity growing from left to right.

    Args:
      images: uint8 [h, w, 1 or 3] by corruption and severity; a missing severity leaves an empty place.
      theme: colours.

    Returns:
      The figure, the rows in two blocks side by side.

    Raises:
      ValueError: as `check_corrupted`.
    """
    check_corrupted(images)
    names, severities = list(images), severities_of(images)
    first = -(-len(names) // 2)
    blocks = [block for block in (names[:first], names[first:]) if block]
    h, w = next(iter(images[names[0]].values())).shape[:2]
    wide = len(severities) * (1 + GAP) - GAP
    side = min((PAGE_INCHES / 2 - NAMES - 0.05) / wide, 1.0)  # inches of an image's width
    tall = first * (h / w + GAP) * side
    height = HEAD + tall + 0.05
    # Placed by hand, so that images keep their proportions and the rows of both blocks are level.
    figure = new_figure(height, theme, constrained=False)
    for number, block in enumerate(blocks):
        own = len(block) * (h / w + GAP) * side
        left = number * PAGE_INCHES / 2 + NAMES
        place = (left / PAGE_INCHES, (height - HEAD - own) / height, wide * side / PAGE_INCHES, own / height)
        _block(figure.add_axes(place), {name: images[name] for name in block}, severities, theme)
    return figure


def _block(axes: Axes, images: Corrupted, severities: list[str], theme: Theme) -> None:
    """Draws rows of images on axes whose units are widths of an image."""
    h, w = next(iter(next(iter(images.values())).values())).shape[:2]
    pitch = h / w + GAP
    for row, by_severity in enumerate(images.values()):
        for column, severity in enumerate(severities):
            if severity in by_severity:
                image = by_severity[severity]
                x, y = column * (1 + GAP), row * pitch
                axes.imshow(
                    image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255,
                    interpolation="nearest", extent=(x, x + 1, y + h / w, y),
                )  # fmt: skip
    axes.set_facecolor(theme.paper)
    axes.set_xlim(0, len(severities) * (1 + GAP) - GAP)
    axes.set_ylim(len(images) * pitch, 0)
    axes.set_aspect("auto")
    axes.xaxis.tick_top()
    axes.set_xticks(
        [column * (1 + GAP) + 0.5 for column in range(len(severities))],
        ["no noise" if severity == "0" else severity for severity in severities],
    )
    axes.set_yticks(
        [row * pitch + h / w / 2 for row in range(len(images))], [spoken(name) for name in images]
    )
    axes.tick_params(length=0, labelsize=SMALL_POINTS, labelcolor=theme.ink)
    for spine in axes.spines.values():
        spine.set_visible(False)


def corrupted_caption(images: Corrupted) -> str:
    """Says how to read the images."""
    noisy = [severity for severity in severities_of(images) if severity != "0"]
    return (
        f"One image under {count_text(len(images), 'corruption')}, at severities {', '.join(noisy)}, as the "
        "network gets it: where you cannot tell what is shown either, a mistake of the network says little."
    )
