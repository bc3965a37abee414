"""The record that a binarization method is, and the pieces several methods share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from jax import Array

from bnnjax.config import Recipe
from bnnjax.ops.sign import hardtanh

Schedule = Mapping[str, Array]  # names to float32 scalars, traced


class Quantized(NamedTuple):
    """A quantized array: integer codes times a scale.

    Convolving codes is exact in floating point, in whatever order the sums are taken; the scale goes onto
    the result.  Full precision is the case of codes that are no integers and no scale.
    """

    codes: Array  # [..., o], e.g. +-1, of the compute dtype
    scale: Array | None = None  # [o] (or []) for a kernel, [] for activations; None is 1

    @property
    def value(self) -> Array:
        """The array itself, codes * scale."""
        return self.codes if self.scale is None else self.codes * self.scale


@dataclass(frozen=True, kw_only=True)
class Method:
    """A binarization method at one choice of bits: pure functions, no state."""

    name: str
    wbits: int
    abits: int
    # (latent kernel [..., i, o], schedule) -> codes and scale, with the surrogate gradient inside.
    quantize_weight: Callable[[Array, Schedule], Quantized]
    # (activations [batch, ..., c], schedule) -> codes and scale.
    quantize_activation: Callable[[Array, Schedule], Quantized]
    # The continuous function that quantize_activation is trained through; 1-Lipschitz.  Bounds hold for the
    # surrogate network in which it stands in for the quantizer.
    relaxed_activation: Callable[[Array], Array]
    # Between a unit's batch norm and the next layer; 1-Lipschitz.
    nonlinearity: Callable[[Array], Array] = hardtanh
    # progress in [0, 1), [] float32 -> what the quantizers need of it.  Read once an epoch.
    schedule: Callable[[Array], Schedule] = lambda progress: {}
    # Latent kernel -> latent kernel, after initialization and after every update.
    project_latent: Callable[[Array], Array] | None = None
    # How its authors trained it on CIFAR-10, or the nearest that is published.
    recipe: Recipe = field(default_factory=Recipe)
    source: str

    def relaxed(self) -> "Method":
        """Returns the method of the surrogate network: quantized weights, continuous activations."""
        return replace(self, quantize_activation=lambda x, schedule: Quantized(self.relaxed_activation(x)))


def keep(x: Array, schedule: Schedule) -> Quantized:
    """The quantizer of full precision: returns x as it is."""
    return Quantized(x)


def identity(x: Array) -> Array:
    """Returns x."""
    return x


def check_bits(name: str, wbits: int, abits: int, defined: list[tuple[int, int]]) -> None:
    """Refuses bits that a method does not define.

    Raises:
      ValueError: naming the weight/activation bits that are defined.
    """
    if (wbits, abits) not in defined:
        choices = ", ".join(f"{w}/{a}" for w, a in defined)
        raise ValueError(
            f"method {name} is not defined for {wbits}/{abits} (weight/activation bits); it is for {choices}"
        )
