"""The interface of binarization methods, `Method`, and functions that several methods share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from bnnjax.config.recipe import Recipe
from bnnjax.ops.floats import floats
from bnnjax.ops.sign import hardtanh, sign_clip

Values = Mapping[str, Array]  # traced


class Training(NamedTuple):
    """The training step that a layer is in."""

    key: Array  # random key; in a layer, its own for this step
    epoch_begins: Array  # bool []; whether this is the first step of an epoch


_EMPTY: Values = {}


class Context(NamedTuple):
    """Inputs of a quantizer beside the array."""

    schedule: Values = _EMPTY  # values of `Method.schedule` at this epoch
    learned: Values = _EMPTY  # arrays that the layer trains beside its latent kernel
    memory: Values = _EMPTY  # arrays that the layer carries from step to step
    training: Training | None = None  # None at inference


class Quantized(NamedTuple):
    """A quantized array: integer codes times a scale.

    Convolving integer codes is exact in floating point, whatever the order of summation; the scale multiplies
    the result.  In full precision, and for quantizers whose levels are not evenly spaced, the codes are the
    values themselves and there is no scale.
    """

    codes: Array  # [..., o], e.g. +-1, of the compute dtype
    # [] or [o] for a kernel, or [h, w, o], one for each output of the layer; [] for activations; None is 1
    scale: Array | None = None
    # of activations: the array whose signs the codes are, if they are just that; saves computing them
    signs_of: Array | None = None

    @property
    def channel_scale(self) -> Array:
        """The scale's absolute value, [o] or []; its maximum over pixels where it varies with the pixel."""
        if self.scale is None:
            return jnp.ones((), self.codes.dtype)
        return jnp.max(jnp.abs(self.scale), axis=(0, 1)) if self.scale.ndim == 3 else jnp.abs(self.scale)

    @property
    def value(self) -> Array:
        """codes * scale; where the scale varies with the pixel, with its maximum over pixels."""
        if self.scale is None:
            return self.codes
        return self.codes * (self.channel_scale if self.scale.ndim == 3 else self.scale)


class Site(NamedTuple):
    """A quantized layer, for the initial values of the arrays that a method keeps in it."""

    latent: Array  # [..., i, o], as initialized
    output_shape: tuple[int, ...]  # of one image, [h, w, o] or [o]


# (key, site) -> array
Initial = Callable[[Array, Site], Array]
# value on each device -> mean over all devices
Mean = Callable[[Any], Any]


@dataclass(frozen=True, kw_only=True)
class LearnedActivation:
    """An elementwise function with parameters per channel, trained without weight decay."""

    # name -> initial value of its [c].
    learned: Mapping[str, float]
    # (x [..., c], parameters of x's dtype, [c] or broadcast to x) -> y.
    apply: Callable[[Array, Values], Array]
    # parameters -> the Lipschitz constant of each channel, [c].
    lipschitz: Callable[[Values], Array]


@dataclass(frozen=True, kw_only=True)
class Method:
    """A binarization method at one choice of bits: pure functions and the arrays that they need; no state."""

    name: str
    wbits: int
    abits: int
    # (latent kernel [..., i, o], context) -> codes and scale, with the surrogate gradient inside.
    quantize_weight: Callable[[Array, Context], Quantized]
    # (activations [batch, ..., c], context) -> codes and scale.
    quantize_activation: Callable[[Array, Context], Quantized]
    # Whether codes of 1-bit activations have exactly two values in training too.
    two_codes: bool = True
    # Whether codes of 1-bit weights and of 1-bit activations are +-1, in training too.
    signs: bool = False
    # Whether kernels in C may convolve such codes; it is a run's choice, not the method's.
    native: bool = True
    # Whether activations are centred for their signs, image by image.
    centres: bool = False
    # The continuous function whose derivative is quantize_activation's surrogate gradient; 1-Lipschitz.
    # Bounds hold for the surrogate network, which has it in place of the quantizer.
    relaxed_activation: Callable[[Array], Array]
    # Between a unit's batch norm and the next layer; 1-Lipschitz unless it is learned.
    nonlinearity: Callable[[Array], Array] | LearnedActivation = hardtanh
    # progress in [0, 1] (1 at inference), [] float32 -> values for the quantizers.  Read once per epoch.
    schedule: Callable[[Array], Values] = lambda progress: {}
    # Equal parts of training, in each of which the learning rate restarts; see `stage_at`.
    stages: int = 1
    # Arrays that each quantized layer trains beside its latent kernel, without weight decay.
    learned: Mapping[str, Initial] = field(default_factory=dict)
    # Which of these a deployed network does without: they fold into the batch norm behind, or train alone.
    only_trained: frozenset[str] = frozenset()
    # Arrays that each quantized layer carries from step to step, in every checkpoint; float32.
    memory: Mapping[str, Initial] = field(default_factory=dict)
    # (latent, activations, context, mean) -> memory after this step's forward pass.  No gradient flows.
    remember: Callable[[Array, Array, Context, Mean], Values] | None = None
    # (memory, gradient of the latent kernel) -> memory after this step's backward pass.
    remember_gradient: Callable[[Values, Array], Values] | None = None
    # (latent, activations, context, mean) -> what the layer adds to the loss, []; the network's loss takes
    # the mean over its layers.
    layer_loss: Callable[[Array, Array, Context, Mean], Array] | None = None
    # (latent, patches, context) -> latent before the first step of training, layer by layer in the order of
    # the network.  patches, [n, fan_in] float32, are n patches of the layer's quantized input for some
    # training images; the layers before it are prepared already.
    prepare: Callable[[Array, Array, Context], Array] | None = None
    # Whether the method starts training from a pretrained full-precision network by definition.
    pretrained: bool = False
    # Latent kernel -> latent kernel, after initialization and after every update.
    project_latent: Callable[[Array], Array] | None = None
    # How its authors trained it on CIFAR-10, or the closest published recipe.
    recipe: Recipe = field(default_factory=Recipe)
    source: str

    @property
    def has_signs(self) -> bool:
        """Whether the codes of both weights and activations are +-1, in training too."""
        return self.wbits == self.abits == 1 and self.signs

    @property
    def is_native(self) -> bool:
        """Whether kernels in C may convolve its codes."""
        return self.native and self.has_signs

    @property
    def takes_signs_at_zero(self) -> bool:
        """Whether the codes of activations are their signs, as they are."""
        return self.abits == 1 and self.signs and not self.centres

    def relaxed(self) -> "Method":
        """Returns the method of the surrogate network: quantized weights, continuous activations."""
        return replace(
            self, quantize_activation=lambda x, context: Quantized(self.relaxed_activation(x)), signs=False
        )


def signs_of(x: Array, codes: Array) -> Quantized:
    """Returns codes that are the signs of x."""
    return Quantized(codes, signs_of=floats(x))


def keep(x: Array, context: Context) -> Quantized:
    """The quantizer of full precision: returns x as it is."""
    return Quantized(floats(x))


def clipped_sign(x: Array, context: Context) -> Quantized:
    """The quantizer of activations x -> sign(x), dy/dx := 1[|x| <= 1]."""
    return signs_of(x, sign_clip(x))


def identity(x: Array) -> Array:
    """Returns x."""
    return x


def sharpening(progress: Array, *, first: float, last: float) -> Values:
    """Returns t = 10^(first + (last - first) progress) and k = max(1/t, 1), for surrogates of the sign that
    are nearly the identity at the start of training and nearly the sign at its end.

    Args:
      progress: [], epoch / epochs.
      first: log10 of t at the start.
      last: that at the end.
    """
    t = 10.0 ** (first + (last - first) * progress)
    return {"k": jnp.maximum(1 / t, 1.0), "t": t}


def stage_at(progress: Array, stages: int) -> Array:
    """Returns the current stage of training, 0 to stages - 1, int32 [].

    Args:
      progress: [], epoch / epochs.
      stages: number of equal parts of training.
    """
    # Rounding may leave progress just below a boundary.
    return jnp.clip(jnp.floor(stages * progress + 1e-4), 0, stages - 1).astype(jnp.int32)


def stage_restarts(method: Method, epochs: int) -> list[int]:
    """Returns how many epochs are done when the method's second, third, ... stage begins.

    Raises:
      ValueError: if a stage would have no epoch.
    """
    if epochs < method.stages:
        raise ValueError(
            f"method {method.name} trains in {method.stages} stages of at least an epoch each; "
            f"got epochs {epochs}"
        )
    return [-(-stage * epochs // method.stages) for stage in range(1, method.stages)]


def check_bits(name: str, wbits: int, abits: int, defined: list[tuple[int, int]]) -> None:
    """Rejects bit widths that a method does not define.

    Raises:
      ValueError: listing the weight/activation bits that are defined.
    """
    if (wbits, abits) not in defined:
        choices = ", ".join(f"{w}/{a}" for w, a in defined)
        raise ValueError(
            f"method {name} is not defined for {wbits}/{abits} (weight/activation bits); it is for {choices}"
        )
