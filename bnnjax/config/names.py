"""The names that flags take: methods, models, presets and the like."""

from typing import Literal

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
    "bwnh",
    "dsq",
    "fda",
    "hwgq",
    "lab",
    "lqnet",
    "rad",
    "rbnn",
    "reactnet",
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
Structure = Literal["plain", "bireal"]
Downsample = Literal["stride", "average"]
Augment = Literal["none", "noise"]
Precision = Literal["float32", "bfloat16"]
Kernels = Literal["xla", "native"]
Noise = Literal["quick", "none"]
LaunchName = Literal["slurm", "gke", "tpu"]
Optimizer = Literal["sgd", "adamw"]
Decay = Literal["cosine", "linear", "steps"]
PresetName = Literal["irnet", "birealnet", "reactnet"]  # see `presets`
Geometry = Literal["none", "crop", "flip", "crop+flip"]
Fit = Literal["crop", "pad", "stretch"]  # of a picture into a square, see `data.folder.decode`
