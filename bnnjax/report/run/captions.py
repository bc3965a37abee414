"""The text of a run's page: its headline, its warnings, and how to read each plot."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bnnjax.report.run.pictures import class_name, row_percent
from bnnjax.report.style.formatting import MISSING, as_float, count_text, finite, number_text, units_off

SURROGATE = (
    "The bound belongs to the surrogate network, in which every sign is replaced by the clip it is trained "
    "through. The true sign has no Lipschitz constant, so the bound is a tool to compare runs, "
    "never a certificate."
)


def headline(summary: Mapping[str, Any]) -> str:
    """Returns the result in one sentence, as far as the summary has it."""
    method = str(summary.get("method") or "This run")
    if summary.get("bits"):
        method += f" ({summary['bits']} bits)"
    constraint = str(summary.get("constraint") or "none")
    with_constraint = "without a constraint" if constraint == "none" else f"with the {constraint} constraint"
    data = str(summary.get("dataset") or "its data set")
    kind = "test" if "test_accuracy" in summary else "validation"
    accuracy = as_float(summary.get(f"{kind}_accuracy"))
    if accuracy is None:
        return f"{method} {with_constraint} on {data}: no accuracy was recorded."
    text = f"{method} {with_constraint} reaches {number_text(accuracy, '.2f', '%')} {kind} accuracy on {data}"
    if finite(accuracy) is None:
        text = f"{method} {with_constraint} on {data}: {kind} accuracy is not finite"
    bound = as_float(summary.get("log_lipschitz_bound"))
    if bound is None:
        return text + "."
    if finite(bound) is None:
        return text + "; its Lipschitz bound is not finite."
    return f"{text}; the log Lipschitz bound of its surrogate is {bound:.1f} nats."


def warnings(
    summary: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]], units: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Returns what a reader must know before trusting the numbers; empty if nothing is wrong."""
    found = []
    broken = [
        record.get("epoch", index)
        for index, record in enumerate(metrics, start=1)
        # A loss is always a number, so null is one that JSON could not hold.
        if "loss" in record and finite(record["loss"]) is None
    ]
    if broken:
        where = (
            f"epoch {broken[0]}" if len(broken) == 1 else f"{len(broken)} epochs, first in epoch {broken[0]}"
        )
        found.append(f"The loss was not finite in {where}.")
    off = units_off(units, summary)
    if off:
        of_all = f" of {len(units)}" if units else ""
        found.append(
            f"{count_text(off, 'unit')}{of_all} {'is' if off == 1 else 'are'} dead (norm below 0.001): "
            "a small bound then says that little gets through, not that the network resists noise."
        )
    return found


def curves_caption(metrics: Sequence[Mapping[str, Any]]) -> str:
    """Returns how to read the training curves."""
    return (
        f"Read each panel from left to right over {count_text(len(metrics), 'epoch')}: a training curve "
        "(dashed) that leaves the validation curve (solid) behind means overfitting. One nat less in the log "
        "Lipschitz bound means that noise of the same size can move the surrogate's output only 0.37 times "
        "as far."
    )


def bounds_caption(units: Sequence[Mapping[str, Any]]) -> str:
    """Returns how to read the norms of the units."""
    off = sum(bool(unit.get("off")) for unit in units)
    return (
        "Each bar is how much a unit (convolution and batch norm) can enlarge noise measured in the max "
        "norm; the orange mark is the bound that follows from the spectral norm, so the line between the two "
        "is what the exact L1,inf norm gains, and tightness is their ratio. "
        f"{off} of {count_text(len(units), 'unit')} {'is' if off == 1 else 'are'} dead (norm below 0.001)."
    )


def examples_caption(shown: int) -> str:
    """Returns how to read the worst examples."""
    return (
        f"{count_text(shown, 'test image')} with the highest loss, worst first: the true class in grey, "
        "below it the predicted class (blue if right, orange if wrong) with the probability the network gave "
        "it. Confident mistakes on clear images point to wrong labels or to a flaw of the network; mistakes "
        "on images that you cannot tell apart either are no cause for concern."
    )


def confusion_caption(confusion: np.ndarray, class_names: Sequence[str]) -> str:
    """Returns how to read the confusion matrix and which confusion is the most frequent."""
    text = "Each row is a true class and adds up to 100 percent; mistakes are off the diagonal. "
    mistakes = row_percent(confusion)
    np.fill_diagonal(mistakes, 0.0)
    mistakes = np.nan_to_num(mistakes)
    if not mistakes.any():
        return text + "There is no mistake."
    true, predicted = (int(index) for index in np.unravel_index(np.argmax(mistakes), mistakes.shape))
    return text + (
        f"The most frequent one: {number_text(mistakes[true, predicted], '.1f', '%')} of the images "
        f"of class {class_name(class_names, true)} are taken for {class_name(class_names, predicted)}."
    )


def unit_rows(units: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Returns the cells of the table of units; see `UNIT_HEADER`."""
    return [
        [
            str(unit.get("unit", MISSING)),
            str(unit.get("kind", MISSING)) + (", off" if unit.get("off") else ""),
            count_text(unit.get("fan_in")),
            number_text(unit.get("l1inf"), ".4g"),
            number_text(unit.get("spectral"), ".4g"),
            number_text(unit.get("spectral_bound"), ".4g"),
            number_text(unit.get("tightness"), ".3f"),
        ]
        for unit in units
    ]


UNIT_HEADER = ("unit", "kind", "fan-in", "L1,inf norm", "spectral norm", "spectral bound", "tightness")
