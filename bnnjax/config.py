"""The configuration of a run: one frozen tree, from which the command line is made.

Nothing here imports JAX, so that `--help` and a mistyped flag answer at once.
"""

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tyro

MethodName = Literal[
    "fp",
    "bnn",
    "xnor",
    "bwn",
    "dorefa",
    "birealnet",
    "irnet",
    "abcnet",
    "bnnplus",
    "dsq",
    "fda",
    "hwgq",
    "lab",
    "lqnet",
    "rad",
    "rbnn",
    "recu",
    "reste",
    "sqbwn",
    "sqtwn",
    "twn",
    "xnorplusplus",
]
ModelName = Literal[
    "resnet20",
    "resnet18",
    "resnet34",
    "resnet18_imagenet",
    "resnet34_imagenet",
    "vgg_small",
    "resnet_tiny",
    "vgg_tiny",
]
ConstraintName = Literal["none", "l1inf"]
Precision = Literal["float32", "bfloat16"]


def _check(name: str, value: float, allowed: str, holds: bool) -> None:
    if not holds:
        raise ValueError(f"{name} must be {allowed}; got {value}")


@dataclass(frozen=True, kw_only=True)
class L1InfConfig:
    """The L1,inf constraint; used with --constraint l1inf."""

    # soft: a penalty on the loss; hard: a projection of the batch norm gains after each update.
    form: Literal["soft", "hard"] = "soft"
    # Which norm: folded (kernel, scale and batch norm), gain (the batch norm's gain left out, the batch
    # variance differentiated), weights or scales (the naive forms).  The hard form takes folded alone.
    target: Literal["folded", "gain", "weights", "scales"] = "folded"
    # bound: log of the network's bound; sum: of the units' norms.
    reduction: Literal["bound", "sum"] = "bound"
    # 0 takes the exact maximum over channels; T > 0 smooths it by a log-sum-exp, in units of the norm.
    temperature: float = 0.0
    # Factor of the penalty (soft form).
    strength: float = 0.01
    # Largest norm of a unit (hard form).
    radius: float = 10.0

    def __post_init__(self) -> None:
        for name in ("temperature", "strength"):
            value = getattr(self, name)
            _check(f"l1inf.{name}", value, "0 or positive, and finite", 0 <= value < math.inf)
        _check("l1inf.radius", self.radius, "positive and finite", 0 < self.radius < math.inf)
        if self.form == "hard" and self.target != "folded":
            raise ValueError(f"l1inf.form hard takes l1inf.target folded; got {self.target}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained: an optimizer's settings and a length."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 1e-4
    batch_size: int = 128
    epochs: int = 400


@dataclass(frozen=True, kw_only=True)
class Config:
    """One training run."""

    # cifar10, digits, or any prepared TFDS data set of small images: its directory in --data-dir (mnist,
    # emnist/digits/3.1.0).  Of such a set a tenth of the training images is held out; none is augmented.
    dataset: str = "cifar10"
    # The recipe that all methods are compared under, from which flags left out are filled.
    common: tyro.conf.Suppress[Recipe] = Recipe()

    # Binarization method.
    method: MethodName = "irnet"
    # Bits of weights; left out: the method's own.
    wbits: int | None = None
    # Bits of activations; left out: the method's own.
    abits: int | None = None
    # Network; those for ImageNet begin with a stem for images of 224x224, the tiny ones are for tests.
    model: ModelName = "resnet20"
    # plain: a shortcut around two convolutions; bireal: around each.  Left out: bireal for binarized
    # ResNets, else plain.
    structure: Literal["plain", "bireal"] | None = None

    # Constraint that the network is trained under.
    constraint: ConstraintName = "none"
    # Settings of the L1,inf constraint.
    l1inf: L1InfConfig = field(default_factory=L1InfConfig)

    # common: the same for every method; published: the method's own.  The five flags that follow override it.
    recipe: Literal["common", "published"] = "common"
    # Optimizer.
    optimizer: Literal["sgd", "adamw"] | None = None
    # Peak of the learning rate, reached after the warm-up; from there a cosine falls to 0.
    learning_rate: float | None = None
    # Of kernels; batch norm parameters and biases have none.
    weight_decay: float | None = None
    # Images in a step, over all devices.
    batch_size: int | None = None
    # Passes over the training images.
    epochs: int | None = None
    # Of SGD.
    momentum: float = 0.9
    # Epochs over which the learning rate rises to its peak.
    warmup_epochs: float = 0.0
    # Weight of the uniform distribution in the targets.
    label_smoothing: float = 0.0
    # Clip latent weights of binary layers to [-C, C] after every update; 0: only as the method defines.
    latent_clip: float = 0.0
    # What convolutions compute in; parameters and statistics are float32 either way.
    precision: Precision = "float32"
    # Drives initialization, the order of images and their augmentation.
    seed: int = 0

    # Where prepared TFDS data sets lie; left out: TFDS's own place.
    data_dir: Path | None = None
    # CIFAR-10 as cifar-10-binary.tar.gz, in place of the download.
    archive: Path | None = None
    # Train on the first N images only.
    train_examples: int | None = None

    # Where the run leaves its results; left out: runs/DATASET-MODEL-METHOD-CONSTRAINT-SEED.
    workdir: Path | None = None
    # auto: go on from the last checkpoint in workdir, if there is one; never: refuse a workdir in use.
    resume: Literal["auto", "never"] = "auto"
    # Save a checkpoint each N epochs, and at the end.
    checkpoint_every: int = 1

    def __post_init__(self) -> None:
        if not self.dataset.strip("/"):
            raise ValueError("dataset must name a data set; got nothing")
        for name in ("batch_size", "epochs", "train_examples", "checkpoint_every"):
            value = getattr(self, name)
            _check(name, value, "at least 1", value is None or value >= 1)
        for name in ("learning_rate", "weight_decay", "warmup_epochs", "latent_clip"):
            value = getattr(self, name)
            _check(name, value, "0 or positive, and finite", value is None or 0 <= value < math.inf)
        for name in ("momentum", "label_smoothing"):
            value = getattr(self, name)
            _check(name, value, "in [0, 1)", 0 <= value < 1)
        if self.constraint != "l1inf" and self.l1inf != L1InfConfig():
            raise ValueError(f"the l1inf settings act with constraint l1inf only; got {self.constraint}")
        _check("seed", self.seed, "between 0 and 2^32 - 1", 0 <= self.seed < 2**32)

    def with_values(self, **values: Any) -> "Config":
        """Returns the configuration with these values in place of its own."""
        return dataclasses.replace(self, **values)

    def with_recipe(self, recipe: Recipe) -> "Config":
        """Returns the configuration with those of the recipe's five flags filled in that were left out."""
        missing = {name: value for name, value in vars(recipe).items() if getattr(self, name) is None}
        return self.with_values(**missing)


def to_json(config: object) -> Any:
    """Returns the configuration as JSON-able dicts, paths as text."""
    if dataclasses.is_dataclass(config):
        return {f.name: to_json(getattr(config, f.name)) for f in dataclasses.fields(config)}
    return str(config) if isinstance(config, Path) else config
