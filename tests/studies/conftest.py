"""Two small trained networks on made-up images, one of them the full-precision twin of the other."""

from pathlib import Path

import pytest
import tiny_experiment
from rich.console import Console
from shared import made_once

import bnnjax.runs.train
from bnnjax.config.training import Config
from bnnjax.data import Dataset
from bnnjax.runs.saved import Trained, read_trained


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    return tiny_experiment.load(Config(dataset="digits"))


@pytest.fixture(scope="session")
def runs(dataset: Dataset, shared_folder: Path) -> dict[str, Trained]:
    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bnnjax.runs.plan, "load", tiny_experiment.load)
            for method in ("xnor", "fp"):
                config = Config(
                    dataset="digits",
                    model="resnet_tiny",
                    method=method,
                    batch_size=32,
                    epochs=1,
                    learning_rate=0.05,
                    train_examples=640,
                    noise="none",
                    workdir=folder / method,
                )
                assert bnnjax.runs.train.execute(bnnjax.runs.plan.prepare(config), Console(quiet=True)) == 0

    folder = made_once(shared_folder, "binary_and_twin", make)
    return {name: read_trained(folder / name, dataset) for name in ("xnor", "fp")}
