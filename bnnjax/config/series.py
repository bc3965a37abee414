"""The flags that all runs of a series have in common."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnnjax.config.checks import check
from bnnjax.config.names import Noise, Precision
from bnnjax.config.training import Config


@dataclass(frozen=True, kw_only=True)
class SeriesConfig:
    """Several runs under one recipe, each with several seeds."""

    # Runs of each row, with seeds 0, 1, ...
    seeds: int = 3
    # A data set that bnnjax train lists, or any prepared one of small images in --data-dir.
    dataset: str = "cifar10"

    # Passes over the training images; what is left out here and below is IR-Net's recipe for the data set.
    epochs: int | None = None
    # Images in a step, over all devices.
    batch_size: int | None = None
    # Peak of the learning rate.
    learning_rate: float | None = None
    # What convolutions compute in; parameters and statistics are float32 either way.
    precision: Precision = "float32"
    # quick: each run ends with a short test under all kinds of noise; none: it does not.
    noise: Noise = "quick"

    # Where prepared TFDS data sets lie; left out: TFDS's own place.
    data_dir: Path | None = None
    # CIFAR-10 as cifar-10-binary.tar.gz, in place of the download.
    archive: Path | None = None
    # Train on the first N images only.
    train_examples: int | None = None
    # Save a checkpoint every N epochs, and at the end.
    checkpoint_every: int = 1

    # Where the runs and their results go; left out: a directory named after the settings.
    workdir: Path | None = None

    def __post_init__(self) -> None:
        check("seeds", self.seeds, "at least 1", self.seeds >= 1)

    def run(self, **values: Any) -> Config:
        """Returns the configuration of a run with the settings that both have, and these values."""
        shared = {f.name for f in dataclasses.fields(self)} & {f.name for f in dataclasses.fields(Config)}
        settings = {name: getattr(self, name) for name in shared}
        return Config(**{**settings, **values})
