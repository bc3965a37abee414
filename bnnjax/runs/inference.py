"""A run's network as a function of images, for notebooks and other programs."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array

from bnnjax.config.resolved import ResolvedConfig
from bnnjax.data import Dataset
from bnnjax.data.dataset import without_images
from bnnjax.data.images import require_grey_levels
from bnnjax.data.load import load as load_data
from bnnjax.report.style.formatting import number_text, value_text
from bnnjax.report.style.page import pairs_table
from bnnjax.robustness.outcomes import Predict
from bnnjax.runs.directory import check_digest, is_finished
from bnnjax.runs.saved import Trained, predictor, read_config, read_trained
from bnnjax.runtime.files import read_json


@dataclass(frozen=True, eq=False, repr=False)
class TrainedNetwork:
    """The best network of a run: `network(images)` gives logits, `network.predict(images)` names of classes.

    Batches are padded to a power of two, and cut into pieces of the run's batch size: few programs are
    compiled, whatever the number of images.  All runs on the first device.

    Attributes:
      trained: the network as it was read.
      dataset: that it was trained on, without images.
      test_accuracy: of the run, percent; None if it has not ended.
    """

    trained: Trained
    dataset: Dataset
    test_accuracy: float | None
    _compiled: dict[int, Predict] = field(default_factory=dict, init=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits."""
        return self.dataset.class_names

    @property
    def config(self) -> ResolvedConfig:
        """The run's configuration."""
        return self.trained.config

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(h, w, c) of the images that it takes."""
        return self.dataset.image_shape

    def __call__(self, images: np.ndarray | Array) -> np.ndarray:
        """Returns logits, float32 [n, classes].

        Args:
          images: as they are stored, uint8 [n, h, w, c] of `image_shape`; the network normalizes them.

        Raises:
          ValueError: images of another type or shape.
        """
        require_grey_levels(images, self.image_shape)
        if len(images) == 0:
            return np.empty((0, len(self.classes)), np.float32)
        size = min(1 << (len(images) - 1).bit_length(), self.config.batch_size)
        if size not in self._compiled:
            self._compiled[size] = predictor(self.trained, self.dataset, size, jax.devices()[:1])
        return self._compiled[size](images)

    def predict(self, images: np.ndarray | Array) -> np.ndarray:
        """Returns the names of the likeliest classes, str [n]; their numbers are `network(images).argmax(1)`.

        Args:
          images: as for a call.

        Raises:
          ValueError: as a call.
        """
        return np.array(self.classes)[self(images).argmax(axis=1)]

    def _about(self) -> dict[str, Any]:
        config = self.config
        return {
            "run": self.trained.place,
            "network": f"{config.model}, {config.structure}",
            "method": f"{config.method}, {config.wbits}/{config.abits} bits",
            "constraint": config.constraint,
            "data set": self.dataset.name,
            "images": f"uint8 [n, {', '.join(map(str, self.image_shape))}]",
            "classes": f"{len(self.classes)}: {value_text(self.classes[:10])}"
            + (", ..." if len(self.classes) > 10 else ""),
            "test accuracy": number_text(self.test_accuracy, unit="%"),
        }

    def __repr__(self) -> str:
        return f"TrainedNetwork({'; '.join(f'{name} {text}' for name, text in self._about().items())})"

    def _repr_html_(self) -> str:
        return pairs_table(self._about())


def load_network(run: Path, data_dir: Path | None = None) -> TrainedNetwork:
    """Returns the best network of a run, finished or not, from its latest undamaged checkpoint.

    Args:
      run: its directory.
      data_dir: of its data set if that has moved; read only for runs of earlier versions, which did not
        record the mean and deviation of their images.

    Raises:
      ValueError: as `read_trained`; or the data set is needed and cannot be read, or is another.
    """
    run = run.expanduser()
    config = read_config(run)
    try:
        dataset = without_images(read_json(run / "config.json")["data"])
    except KeyError:
        dataset = load_data(config.with_values(data_dir=data_dir or config.data_dir))
        check_digest(run, dataset.digest)
    accuracy = read_json(run / "summary.json")["test_accuracy"] if is_finished(run) else None
    return TrainedNetwork(read_trained(run, dataset), dataset, accuracy)
