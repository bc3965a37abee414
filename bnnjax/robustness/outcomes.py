"""Predictions of trained networks on corrupted images, kept on disk so that nothing is measured twice."""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from zipfile import BadZipFile

import jax
import numpy as np

from bnnjax.data.corrupted import Noisy
from bnnjax.data.dataset import DataError
from bnnjax.robustness.scores import Outcome
from bnnjax.runtime.files import write_bytes_atomically

# uint8 [n, h, w, c] -> logits [n, classes]
Predict = Callable[[np.ndarray | jax.Array], np.ndarray]


def outcome_of(logits: np.ndarray) -> Outcome:
    """Returns the likeliest class of each image and its probability, of logits [n, classes].

    An image with a logit that is not a number has class -1, which is none, and no number as probability.
    """
    from scipy.special import log_softmax  # not loaded before a network is scored

    with np.errstate(invalid="ignore"):  # infinity - infinity
        confidences = np.exp(log_softmax(logits.astype(np.float64), axis=1).max(axis=1))
    predictions = np.where(np.isnan(confidences), -1, logits.argmax(axis=1))
    return Outcome(predictions.astype(np.int32), confidences.astype(np.float32))


def measure(
    predicts: Sequence[Predict], batches: Iterable[Noisy], severities: tuple[int, ...]
) -> tuple[list[dict[str, Outcome]], np.ndarray]:
    """Returns each network's outcomes by severity (as text), and the labels; all networks share the images.

    Args:
      predicts: the networks.
      batches: images under one corruption, from `CorruptedSet.batches`.
      severities: those of the batches, in order.

    Raises:
      DataError: if the images cannot be read.
    """
    parts: list[list[Outcome]] = [[] for _ in predicts]
    labels = []
    for noisy in batches:
        labels.append(noisy.labels)
        # On the host, where slicing batches needs no compiled program.
        flat = np.asarray(noisy.images).reshape(-1, *noisy.images.shape[2:])
        for own, predict in zip(parts, predicts, strict=True):
            own.append(outcome_of(predict(flat)))
    found = []
    for own in parts:
        # [severities, b] of each batch, joined along b.
        predictions, confidences = (
            np.concatenate([part[field].reshape(len(severities), -1) for part in own], axis=1)
            for field in (0, 1)
        )
        found.append(
            {
                str(severity): Outcome(predictions[place], confidences[place])
                for place, severity in enumerate(severities)
            }
        )
    return found, np.concatenate(labels)


def outcome_file(place: Path, network: str, settings: object, corruption: str) -> Path:
    """Returns the file of a network's outcomes.

    Args:
      place: directory of the evaluation.
      network: digest of the network.
      settings: everything else that outcomes depend on, as JSON values.
      corruption: name of the corruption.
    """
    text = json.dumps(settings, sort_keys=True)
    return (
        place
        / "outcomes"
        / network[:16]
        / hashlib.sha256(text.encode()).hexdigest()[:8]
        / f"{corruption}.npz"
    )


def write_outcomes(path: Path, outcomes: dict[str, Outcome], labels: np.ndarray) -> None:
    """Writes outcomes by severity, and the labels, whole or not at all."""
    arrays = {"labels": labels}
    for severity, outcome in outcomes.items():
        arrays |= {
            f"predictions_{severity}": outcome.predictions,
            f"confidences_{severity}": outcome.confidences,
        }
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_bytes_atomically(path, buffer.getvalue())


def read_outcomes(path: Path, severities: Sequence[int]) -> tuple[dict[str, Outcome], np.ndarray] | None:
    """Returns what `write_outcomes` has written; None if the file does not exist.

    Raises:
      DataError: if it cannot be read.
    """
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            outcomes = {
                str(severity): Outcome(arrays[f"predictions_{severity}"], arrays[f"confidences_{severity}"])
                for severity in severities
            }
            return outcomes, arrays["labels"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(f"{path} is damaged; delete it to measure again.") from error
