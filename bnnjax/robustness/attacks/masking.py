"""Detection of gradient masking: results of attacks that contradict each other on a robust network.

After Athalye et al. 2018 (arXiv 1802.00420, section 3.1) and Carlini et al. 2019 (arXiv 1902.06705).
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

WHITE_BOX = ("pgd_linf", "apgd_ce", "apgd_dlr")
TOLERANCE = 1.0  # percentage points of difference that random starts may cause
MISLED = 15.0  # percentage points of difference that temperatures may cause without masking
LOSS_TOLERANCE = 0.02  # share by which the loss may fall because of random starts


def _by_attack(eps: str, accuracies: Mapping[str, float | None], tolerance: float) -> list[str]:
    white = {name: value for name in WHITE_BOX if (value := accuracies.get(name)) is not None}
    if not white:
        return []
    lowest = min(white.values())
    sentences = []
    for name, title in (("square", "The black box"), ("transfer", "Transfer from the twin")):
        value = accuracies.get(name)
        if value is not None and value < lowest - tolerance:
            sentences.append(
                f"{title} beats the white box at eps {eps}: accuracy {value:.1f} %, {lowest:.1f} % after "
                "gradient-based attacks."
            )
    one_step = accuracies.get("fgsm")
    if one_step is not None and one_step < lowest - tolerance:
        sentences.append(
            f"One step beats many at eps {eps}: accuracy {one_step:.1f} % after FGSM, {lowest:.1f} % after "
            "iterative attacks."
        )
    return sentences


def _by_size(ladder: Mapping[str, Mapping[str, float]], tolerance: float) -> list[str]:
    sentences = []
    rungs = list(ladder.items())
    for (smaller, before), (larger, after) in pairwise(rungs):
        if after["accuracy"] > before["accuracy"] + tolerance:
            sentences.append(
                f"Accuracy rises with eps: {before['accuracy']:.1f} % at {smaller}, "
                f"{after['accuracy']:.1f} % at {larger}."
            )
        if after["loss"] < before["loss"] * (1 - LOSS_TOLERANCE):
            sentences.append(
                f"The loss falls with eps: {before['loss']:.4g} at {smaller}, {after['loss']:.4g} at "
                f"{larger}."
            )
    (smallest, first), (largest, last) = rungs[0], rungs[-1]
    if last["accuracy"] > 0 and last["accuracy"] >= first["accuracy"] - tolerance:
        sentences.append(
            f"Accuracy does not fall with eps: {first['accuracy']:.1f} % at {smallest}, "
            f"{last['accuracy']:.1f} % at {largest}."
        )
    if last["loss"] <= first["loss"]:
        sentences.append(
            f"The loss does not grow with eps: {first['loss']:.4g} at {smallest}, {last['loss']:.4g} at "
            f"{largest}."
        )
    if largest == "1" and last["accuracy"] > 0:
        sentences.append(
            f"Accuracy is {last['accuracy']:.1f} % at eps 1, where any image can be turned into any other."
        )
    return sentences


def _by_temperature(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    plain, best = settings[0], min(settings, key=lambda each: each["accuracy"])
    sentences = []
    if plain["vanished"] > 0:
        sentences.append(
            f"The network's own gradient is zero at {plain['vanished']:.1f} % of the images of the search."
        )
    if best["accuracy"] < plain["accuracy"] - MISLED:
        sentences.append(
            f"The network's own gradients mislead: in the search accuracy is {plain['accuracy']:.1f} % with "
            f"them, {best['accuracy']:.1f} % with smoother ones."
        )
    return sentences


def signs_of_masking(
    by_eps: Mapping[str, Mapping[str, float | None]],
    ladder: Mapping[str, Mapping[str, float]],
    settings: Sequence[Mapping[str, Any]] | None = None,
    tolerance: float = TOLERANCE,
) -> list[str]:
    """Returns a sentence for each sign of gradient masking; an empty list does not prove its absence.

    Args:
      by_eps: accuracies in percent by attack (`fgsm`, `pgd_linf`, `apgd_ce`, `apgd_dlr`, `square`,
        `transfer`; None or missing where one was not run), by size of the attack.
      ladder: `accuracy` in percent and `loss` of one iterative attack by eps, rising; the last may be "1".
      settings: of the search for temperatures, the network's own gradients first: `accuracy` and `vanished`.
      tolerance: percentage points; a larger difference between attacks or sizes is a sign.
    """
    sentences = [] if not settings else _by_temperature(settings)
    for eps, accuracies in by_eps.items():
        sentences += _by_attack(eps, accuracies, tolerance)
    return sentences + (_by_size(ladder, tolerance) if len(ladder) > 1 else [])
