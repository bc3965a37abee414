"""Published recipes for ImageNet: what `--preset` stands for, what it should give, and how long it takes.

We have run no preset to its end: accuracies are the authors', hours follow from an assumed speed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, get_args

from bnnjax.config.names import PresetName
from bnnjax.config.recipe import Recipe
from bnnjax.config.training import Config

IMAGES = 1_281_167  # in an epoch
DEFAULTS = Config(dataset="imagenet2012", model="resnet18")


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A published recipe, and what else was published with it."""

    recipe: Recipe
    values: Mapping[str, Any]  # other fields of `Config`
    accuracy: Mapping[str, tuple[float, float]]  # model -> top-1 and top-5 in percent, as published
    source: str
    differs: str  # what is not as published, or not confirmed
    hardware: str = "8 A100 at 1,000 images/s each, which is assumed"
    images_per_second: float = 8000.0

    @property
    def hours(self) -> float:
        """How long training takes at that speed."""
        return self.recipe.epochs * IMAGES / self.images_per_second / 3600


PRESETS: Mapping[PresetName, Preset] = {
    "irnet": Preset(
        recipe=Recipe(learning_rate=0.8, weight_decay=1e-5, batch_size=2048, epochs=100),
        values={
            "method": "irnet",
            "nesterov": True,
            "warmup_epochs": 4.0,
            "decay": "steps",
            "color_jitter": (0.2, 0.2, 0.2),
        },
        accuracy={"resnet18": (58.1, 80.0), "resnet34": (62.9, 84.1)},
        source="Qin et al. 2020, arXiv 1909.10788; authors' configurations, 62,500 steps of 2048",
        differs="the warm-up begins at 0, not 0.2; strengths of the colours are not confirmed, hue is left "
        "alone; resnet34 has weight decay 1e-4",
    ),
    "birealnet": Preset(
        recipe=Recipe(optimizer="adamw", learning_rate=1e-3, weight_decay=0.0, batch_size=512, epochs=256),
        values={"method": "birealnet", "decay": "linear", "label_smoothing": 0.1, "lighting": 0.1},
        accuracy={"resnet18": (56.4, 79.5), "resnet34": (62.2, 83.9)},
        source="Liu et al. 2018, arXiv 1808.00278; authors' PyTorch code",
        differs="the accuracies are of their three steps in Caffe, which begin from full precision",
    ),
    "reactnet": Preset(
        recipe=Recipe(optimizer="adamw", learning_rate=2.5e-3, weight_decay=0.0, batch_size=512, epochs=256),
        values={"method": "reactnet", "decay": "linear", "lighting": 0.1},
        accuracy={"resnet18": (65.9, float("nan"))},
        source="Liu et al. 2020, arXiv 2003.03488; authors' PyTorch code, two steps of 128 epochs",
        differs="both steps are one run, without the first one's weight decay of 1e-5; the published targets "
        "are a full-precision ResNet-34's, so give --teacher RUN",
    ),
}


def defaults_for(arguments: Sequence[str]) -> Config:
    """Returns the defaults of a training on ImageNet: those of the preset that a command line names, if any.

    So a flag overrides its preset, and --help shows what the preset makes of the flags.
    """
    named = " ".join(arguments).replace("--preset=", "--preset ").split()
    for name in get_args(PresetName):
        if ("--preset", name) in pairwise(named):
            preset = PRESETS[name]
            return DEFAULTS.with_values(preset=name, **vars(preset.recipe), **preset.values)
    return DEFAULTS


def expectation(name: PresetName, model: str) -> str:
    """Returns what a run of a preset should come to, in one sentence."""
    preset = PRESETS[name]
    top1, _ = preset.accuracy.get(model.removesuffix("_imagenet"), (math.nan, math.nan))
    known = f"{top1:g} % top-1 is published" if math.isfinite(top1) else f"nothing is published for {model}"
    return (
        f"preset {name}: {known} ({preset.source}); {preset.hours:.1f} hours on {preset.hardware}; "
        f"not as published: {preset.differs}"
    )
