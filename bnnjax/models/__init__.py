"""Networks (ResNets and VGGs), and their names."""

from collections.abc import Callable
from functools import partial
from typing import Any

from bnnjax.config.names import Downsample
from bnnjax.methods import Method
from bnnjax.models.resnet import ResNet
from bnnjax.models.vgg import VGG

Model = ResNet | VGG

WIDE = partial(ResNet, widths=(64, 128, 256, 512), projection=True)
RESNETS = {
    "resnet20": partial(ResNet, widths=(16, 32, 64), blocks=(3, 3, 3), projection=False),
    "resnet18": partial(WIDE, blocks=(2, 2, 2, 2)),
    "resnet34": partial(WIDE, blocks=(3, 4, 6, 3)),
    "resnet18_imagenet": partial(WIDE, blocks=(2, 2, 2, 2), stem="imagenet"),
    "resnet34_imagenet": partial(WIDE, blocks=(3, 4, 6, 3), stem="imagenet"),
    "resnet_tiny": partial(ResNet, widths=(8, 16), blocks=(1, 1), projection=True),
}
VGGS = {
    "vgg_small": partial(VGG, widths=(128, 128, 256, 256, 512, 512)),
    "vgg_tiny": partial(VGG, widths=(8, 8, 16, 16, 32, 32)),
}

__all__ = ["RESNETS", "VGGS", "Model", "default_structure", "make_model"]


def default_structure(name: str, method: Method, structure: str | None) -> str:
    """Returns the structure of the named network; None is bireal for binarized ResNets, else plain.

    Raises:
      ValueError: for an unknown name or structure, or a structure that the network does not have.
    """
    if structure not in (None, "plain", "bireal"):
        raise ValueError(f"unknown structure {structure!r}; allowed are plain, bireal")
    if name in RESNETS:
        return structure or ("plain" if method.name == "fp" else "bireal")
    if name in VGGS:
        if structure == "bireal":
            raise ValueError(f"model {name} has no shortcuts, so its structure is plain; got bireal")
        return "plain"
    raise ValueError(f"unknown model {name!r}; allowed are {', '.join([*RESNETS, *VGGS])}")


def make_model(
    name: str,
    method: Method,
    *,
    structure: str | None = None,
    classes: int,
    axis_name: str | None = None,
    remat: bool = False,
    pack_codes: bool = False,
    radius_of: Callable[[str], float] | None = None,
    downsample: Downsample = "stride",
    stem_blur: bool = False,
) -> Model:
    """Returns the named network.

    Args:
      name: in RESNETS or VGGS.
      method: the binarization method.
      structure: see `default_structure`.
      classes: outputs.
      axis_name: mapped axis of the batch norms.
      remat: whether training recomputes blocks (of a VGG: units) in the backward pass to save memory.
      pack_codes: whether training keeps 1-bit activations as bits.
      radius_of: name of a unit -> the radius of its batch norm's floor, see `Unit`.
      downsample: how padded shortcuts halve the image, see `pad_shortcut`.
      stem_blur: whether images are blurred before the stem.

    Raises:
      ValueError: for an unknown name or structure, a structure or padded shortcuts that the network does not
        have, or codes that do not fit into a bit.
    """
    if pack_codes and not (method.abits == 1 and method.two_codes):
        raise ValueError(
            f"pack_codes is for 1-bit activations of two values; those of method {method.name} have "
            f"{method.abits} bits" + ("" if method.two_codes else " and noise added")
        )
    common: dict[str, Any] = {
        "method": method,
        "classes": classes,
        "axis_name": axis_name,
        "remat": remat,
        "pack_codes": pack_codes,
        "radius_of": radius_of,
        "stem_blur": stem_blur,
    }
    structure = default_structure(name, method, structure)
    if downsample == "average" and (name in VGGS or RESNETS[name].keywords["projection"]):
        raise ValueError(f"downsample average is for padded shortcuts, as of resnet20; got model {name}")
    if name in VGGS:
        return VGGS[name](**common)
    return RESNETS[name](structure=structure, downsample=downsample, **common)
