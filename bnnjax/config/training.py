"""The flags of a training run: one frozen dataclass, from which the command line is made."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from bnnjax.config.checks import NOT_NEGATIVE, check, refuse_idle
from bnnjax.config.constraints import ConstraintSettings
from bnnjax.config.names import (
    Augment,
    Decay,
    Downsample,
    Geometry,
    Kernels,
    LaunchName,
    MethodName,
    ModelName,
    Noise,
    Optimizer,
    Precision,
    PresetName,
    Structure,
)
from bnnjax.config.processes import check_processes

OF_IMAGENET = ("image_size", "data_workers", "data_timeout", "skip_corrupt")


@dataclass(frozen=True, kw_only=True)
class Config(ConstraintSettings):
    """What a training run is asked for; what is None is filled in by `runs.resolve.resolve`."""

    # cifar10, digits, imagenet2012, cifar100, svhn_cropped, mnist, fashion_mnist, or any prepared data set of
    # small images: its directory in --data-dir (own_pictures, emnist/digits/3.1.0).  Without a validation
    # split a tenth of its training images is held out.
    dataset: str = "cifar10"

    # Binarization method; bwhn is another spelling of bwnh.
    method: Literal[MethodName, "bwhn"] = "irnet"
    # Bits of weights; left out: the method's own.
    wbits: int | None = None
    # Bits of activations; left out: the method's own.
    abits: int | None = None
    # Network; those for ImageNet begin with a stem for images of 224x224, as resnet18 and resnet34 do there,
    # the tiny ones are for tests.
    model: ModelName = "resnet20"
    # plain: a shortcut around every two convolutions; bireal: around each.  Left out: bireal for binarized
    # ResNets, else plain.
    structure: Structure | None = None
    # How resnet20's shortcuts halve an image: every second pixel, or the mean of four.
    downsample: Downsample = "stride"
    # Blur images by (1 2 1) / 4 along both axes before the stem.
    stem_blur: bool = False

    # For ImageNet: a complete published recipe, in place of the flags' defaults.
    preset: PresetName | None = None
    # common: the same for every method; published: the method's own.  The five flags that follow override it.
    recipe: Literal["common", "published"] = "common"
    # Optimizer.
    optimizer: Optimizer | None = None
    # Peak of the learning rate, reached after the warm-up, from where it decays.  Both start over in each
    # stage of a method that has several.
    learning_rate: float | None = None
    # Weight decay of kernels; batch norm parameters and biases have none.
    weight_decay: float | None = None
    # Images in a step, over all devices.
    batch_size: int | None = None
    # Split each batch into K parts, whose gradients are averaged before the update: a K-th of its activations
    # must fit into memory.  Batch norms see a part at a time.
    accumulate: int = 1
    # Keep what goes into each block (of a VGG: unit) for the backward pass and compute the rest there again:
    # less than half of the memory for activations, more time.
    remat: bool = False
    # Keep activations of one bit as bits for the backward pass: less memory, little time.  Native kernels
    # mostly keep no such activations at all.
    pack_codes: bool = False
    # Scale the peak of the learning rate with the batch size over the recipe's: linearly, or by its root.
    scale_learning_rate: Literal["none", "linear", "sqrt"] = "none"
    # The batch size that learning_rate is meant for, if it is scaled; left out: the recipe's.
    base_batch_size: int | None = None
    # Passes over the training images.
    epochs: int | None = None
    # How the learning rate decays: as a cosine or a line to 0, or to a tenth at 30, 60 and 90 %.
    decay: Decay = "cosine"
    # Momentum of SGD.
    momentum: float = 0.9
    # Nesterov's momentum in SGD.
    nesterov: bool = False
    # Epochs over which the learning rate rises to its peak.
    warmup_epochs: float = 0.0
    # Weight of the uniform distribution in the targets.
    label_smoothing: float = 0.0
    # Clip latent weights of binary layers to [-C, C] after every update; 0: only where the method does.
    latent_clip: float = 0.0
    # A run whose best network training begins from; left out: random weights, or, if the method must begin
    # from a full-precision network, one that this command trains first, in WORKDIR/pretrained.
    pretrained: Path | None = None
    # A run whose best network gives the targets in place of the labels (distillation).
    teacher: Path | None = None
    # What convolutions compute in while training; parameters, statistics and evaluation are float32 anyway.
    precision: Precision = "float32"
    # Convolutions of codes of +-1 on CPUs, with their gradients: native: this package's, in C; xla: XLA's.
    # auto: native for methods that have such codes, in float32, where a C compiler is.  Networks compute the
    # same either way; training differs in the last digits.
    kernels: Literal["auto", Kernels] = "auto"
    # Drives initialization, the order of images and their augmentation.
    seed: int = 0
    # Make equal runs on equal GPUs end with equal bits, which is slower; on CPUs they do anyway.  Refused on
    # other devices.
    deterministic: bool = False

    # quick: at the end the network is tested under all kinds of noise at severities 1, 3 and 5, on at most
    # 1,000 test images; none: it is not.
    noise: Noise = "quick"

    # Where prepared TFDS data sets lie; left out: TFDS's own place.
    data_dir: Path | None = None
    # CIFAR-10 as cifar-10-binary.tar.gz, in place of the download.
    archive: Path | None = None
    # Train on the first N images only.
    train_examples: int | None = None

    # Crop training images at random after padding them by an eighth, or mirror them.  Left out: as is usual
    # for the data set, and not at all where nothing is known of it.
    geometry: Geometry | None = None
    # What is done to training images beside crops and flips; noise: Gaussian noise on some.
    augment: Augment = "none"
    # Standard deviation of that noise, in units where 255 is 1.
    augment_sigma: float = 0.1
    # Share of each batch that gets it.
    augment_share: float = 0.5
    # Random changes of brightness, contrast and saturation of training images, by up to these shares.
    color_jitter: tuple[float, float, float] = (0.0, 0.0, 0.0)
    # Standard deviation of random lighting along the principal colours of ImageNet (AlexNet's: 0.1).
    lighting: float = 0.0
    # For ImageNet: height and width of the images that the network sees.
    image_size: int = 224
    # For ImageNet: processes that decode training images; left out: the CPU cores.
    data_workers: int | None = None
    # For ImageNet: seconds without a batch after which a run stops, as a worker seems to hang.
    data_timeout: float = 300.0
    # For ImageNet: count damaged images and train on others in their place, rather than stop.
    skip_corrupt: bool = False

    # Where the run leaves its results; left out: runs/DATASET-MODEL-METHOD-CONSTRAINT-SEED.
    workdir: Path | None = None
    # auto: resume from the last checkpoint in workdir, if there is one; never: refuse a workdir in use.
    resume: Literal["auto", "never"] = "auto"
    # Save a checkpoint every N epochs, and at the end.
    checkpoint_every: int = 1

    # auto: this is one of several processes that train together, started by Slurm, Open MPI, Kubernetes (GKE)
    # or on a Cloud TPU.
    distributed: Literal["none", "auto"] = "none"
    # The same by hand: HOST:PORT of process 0, which all others can reach ...
    coordinator: str | None = None
    # ... which of the processes this one is, 0 to N - 1 ...
    process_id: int | None = None
    # ... and how many there are, N.
    num_processes: int | None = None
    # Print a script that starts this command on many hosts, and do nothing else.
    print_launch: LaunchName | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.dataset.strip("/"):
            raise ValueError("dataset must name a data set; got nothing")
        if self.preset is not None and self.dataset != "imagenet2012":
            raise ValueError(f"preset {self.preset} is a recipe for imagenet2012; got {self.dataset}")
        for name in (
            "batch_size",
            "epochs",
            "train_examples",
            "checkpoint_every",
            "image_size",
            "accumulate",
            "base_batch_size",
        ):
            value = getattr(self, name)
            check(name, value, "at least 1", value is None or value >= 1)
        for name in ("learning_rate", "weight_decay", "warmup_epochs", "latent_clip"):
            value = getattr(self, name)
            check(name, value, NOT_NEGATIVE, value is None or 0 <= value < math.inf)
        workers = self.data_workers or 0
        check("data_workers", workers, NOT_NEGATIVE, workers >= 0)
        check("data_timeout", self.data_timeout, "above 0", 0 < self.data_timeout < math.inf)
        for name in ("momentum", "label_smoothing"):
            value = getattr(self, name)
            check(name, value, "in [0, 1)", 0 <= value < 1)
        check("augment_sigma", self.augment_sigma, "above 0 and finite", 0 < self.augment_sigma < math.inf)
        check("augment_share", self.augment_share, "in [0.0001, 1]", 1e-4 <= self.augment_share <= 1)
        if self.augment == "none":
            refuse_idle(self, ("augment_sigma", "augment_share"), "augment noise", "none")
        if self.optimizer == "adamw":
            refuse_idle(self, ("momentum", "nesterov"), "optimizer sgd", "adamw")
        if self.scale_learning_rate == "none":
            refuse_idle(self, ("base_batch_size",), "scale_learning_rate linear or sqrt", "none")
        if self.dataset != "cifar10":
            refuse_idle(self, ("archive",), "data set cifar10", self.dataset)
        if self.dataset != "imagenet2012":
            refuse_idle(self, OF_IMAGENET, "data set imagenet2012", self.dataset)
        else:
            refuse_idle(self, ("geometry",), "data sets of small images", self.dataset)
        if self.teacher is not None and self.label_smoothing:
            raise ValueError(
                f"label_smoothing must be 0 with a teacher, whose outputs are the targets; "
                f"got {self.label_smoothing}"
            )
        check("seed", self.seed, "between 0 and 2^32 - 1", 0 <= self.seed < 2**32)
        check_processes(self.distributed, self.coordinator, self.process_id, self.num_processes)

    @property
    def is_distributed(self) -> bool:
        """Whether this is one of many processes."""
        return self.distributed == "auto" or self.coordinator is not None

    def with_values(self, **values: Any) -> Self:
        """Returns the configuration with these values in place of its own."""
        return dataclasses.replace(self, **values)
