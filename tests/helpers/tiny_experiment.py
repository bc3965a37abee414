"""An experiment like those in experiments/, on made-up 8x8 images: tests start it as a process.

Its plots are not drawn, which takes a third of its time; a page is as large as with plots.
"""

import numpy as np

import bnnjax.report.run.html
import bnnjax.report.style.plots
import bnnjax.runs.train
from bnnjax.cli.main import main
from bnnjax.cli.train import prepare_run
from bnnjax.config.training import Config
from bnnjax.data import Augmentation, Dataset, Split
from bnnjax.data.dataset import assemble

DEFAULTS = Config(
    dataset="digits",
    model="resnet_tiny",
    batch_size=8,
    epochs=4,
    learning_rate=0.05,
    noise="none",
)


def images(count: int, seed: int) -> Split:
    """Noise, with a bright row whose place is the class."""
    labels = np.arange(count, dtype=np.int32) % 10
    pixels = np.random.default_rng(seed).integers(0, 160, (count, 8, 8, 3), dtype=np.uint8)
    pixels[np.arange(count), labels % 8] += 90
    return Split(pixels, labels)


def load(config: Config) -> Dataset:
    """In place of `bnnjax.runs.plan.load`: 2,400 images for training, 30 for validation, 20 for the test."""
    return assemble(
        name="tiny",
        class_names=tuple("0123456789"),
        train=images(2430, 0),
        test=images(20, 1),
        validation_examples=30,
        train_examples=config.train_examples,
        augmentation=Augmentation(crop_padding=1, flip=True),
        source="made up",
    )


def picture(figure: object) -> bytes:
    """In place of `bnnjax.report.style.plots.png_bytes`: nothing, of the usual size."""
    return b"\x89PNG" + bytes(100_000)


def stand_in() -> None:
    """Substitutes the made-up images and pictures."""
    bnnjax.runs.plan.load = load
    bnnjax.report.style.plots.png_bytes = picture
    for plot in ("curves", "bounds", "worst_examples", "confusion_matrix"):
        setattr(bnnjax.report.run.html, plot, lambda *arguments, **more: None)


if __name__ == "__main__":
    stand_in()
    main(DEFAULTS, __doc__, prepare_run)
