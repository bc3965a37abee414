"""The accuracy of trained networks on noisy images."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np

from bnnjax.data import Dataset
from bnnjax.data.corruptions import corrupt
from bnnjax.robustness.outcomes import Predict
from bnnjax.runs.saved import Trained
from bnnjax.train.loop import accuracy, score
from bnnjax.train.parallel import compile_task, make_mesh, replicate

CHUNK = 1000  # images that are corrupted at once


def predictor(trained: Trained, dataset: Dataset, batch_size: int) -> Predict:
    """Returns the network as a function, compiled for batches of this size over all devices."""
    mesh = make_mesh(batch_size)
    compiled = compile_task(trained.setup.task, mesh, batch_size, len(dataset.train.labels))
    params, batch_stats = replicate(mesh, (trained.params, trained.batch_stats))
    return lambda images: compiled.predict(params, batch_stats, images)


def noisy_images(
    key: jax.Array, images: np.ndarray, corruptions: Sequence[str], severities: Sequence[int]
) -> dict[str, dict[str, np.ndarray]]:
    """Returns the images with noise, uint8 [n, h, w, c], by corruption and severity (as text).

    Args:
      key: of the noise; it is the same for the same key.
      images: uint8 [n, h, w, c].
      corruptions: names, see `bnnjax.data.corruptions`.
      severities: 1 to 5.
    """

    def one(corruption: str, severity: int) -> np.ndarray:
        parts = [
            corrupt(key, images[first : first + CHUNK], corruption, severity, first=first)
            for first in range(0, len(images), CHUNK)
        ]
        return np.concatenate([np.asarray(part) for part in parts])

    return {name: {str(severity): one(name, severity) for severity in severities} for name in corruptions}


def noisy_accuracies(
    predict: Predict, noisy: Mapping[str, Mapping[str, np.ndarray]], labels: np.ndarray
) -> dict[str, dict[str, float]]:
    """Returns the accuracy in percent, by corruption and severity.

    Args:
      predict: the network.
      noisy: images, as `noisy_images` returns them.
      labels: theirs, int32 [n].
    """
    return {
        name: {severity: accuracy(score(predict(images), labels)) for severity, images in by_severity.items()}
        for name, by_severity in noisy.items()
    }
