"""Units (a convolution and the batch norm behind it), the classifier, and what they record for bounds."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jax import Array

from bnnjax.bounds.chain import UnitStats
from bnnjax.methods import Context, Method
from bnnjax.methods.base import LearnedActivation, identity
from bnnjax.nn.activation import Activation, Nonlinearity
from bnnjax.nn.batch_norm import BatchNorm
from bnnjax.nn.layers import BinaryConv, record
from bnnjax.ops import norms
from bnnjax.ops.pool import max_pool

# Collections that a forward pass fills if they are mutable: `units` holds UnitStats, `kernels` the kernels
# with their batch norm folded in, `squares` ||What_o||_2^2 of each filter, [o], of all but the classifier,
# `stages` the outputs of a network's stages, in order.
UNITS, KERNELS, SQUARES, STAGES = "units", "kernels", "squares", "stages"


def _record_unit(module: nn.Module, stats: UnitStats, folded: Array) -> None:
    record(module, UNITS, stats)
    record(module, KERNELS, folded)


def by_unit(collection: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the entries of a `units`, `kernels` or `squares` collection by the names of their units."""
    return {"/".join(path[:-1]): value for path, value in flatten_dict(collection).items()}


def by_unit_of_layer(collection: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the entries that the convolutions of units recorded, by the names of the units."""
    return {"/".join(path[:-2]): value for path, value in flatten_dict(collection).items()}


def record_stage(model: nn.Module, x: Array) -> None:
    """Adds x, [batch, h, w, c], to the model's `stages`, if that is mutable."""
    model.sow(STAGES, "record", x)


def normalized(images: Array) -> Array:
    """Returns a network's input, [batch, h, w, c], as an array.

    Raises:
      ValueError: unless it is of floats: stored images must be normalized first.
    """
    images = jnp.asarray(images)
    if images.ndim != 4 or not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(
            "images must be normalized floats [batch, h, w, c], as bnnjax.data.normalize returns them; "
            f"got {images.dtype} {list(images.shape)}"
        )
    return images


def in_order(collection: Mapping[str, Any]) -> tuple[Array, ...]:
    """Returns what `record_stage` recorded, in order."""
    return collection.get("record", ())


def replace_gains(params: Mapping[str, Any], gains: Mapping[str, Array]) -> dict[str, Any]:
    """Returns params with the batch norm gains of the named units replaced; units without one are left."""

    def visit(tree: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
        new = {
            key: visit(sub, (*path, key)) if isinstance(sub, Mapping) else sub for key, sub in tree.items()
        }
        name = "/".join(path)
        if name in gains and "norm" in new:
            new["norm"] = {**new["norm"], "gain": gains[name]}
        return new

    return visit(params, ())


class Unit(nn.Module):
    """Quantized convolution, max pooling if asked for, batch norm, shortcut, nonlinearity.

    Attributes:
      features: output channels.
      method: the binarization method; `fp()` for full precision.
      kernel_size: rows and columns of the kernel.
      stride: of the convolution.
      pool: whether 2x2 max pooling comes between convolution and batch norm.
      activation: the elementwise function of the unit's output, fixed or learned.
      axis_name: mapped axis of the batch norm.
      pack_codes: see `BinaryConv`.
      radius_of: name of a unit -> R, by which its batch norm divides by sqrt(v + eps + (||What||_1 / R)^2);
        None: R is infinite.
    """

    features: int
    method: Method
    kernel_size: int = 3
    stride: int = 1
    pool: bool = False
    activation: Nonlinearity = identity
    axis_name: str | None = None
    pack_codes: bool = False
    radius_of: Callable[[str], float] | None = None

    @nn.compact
    def __call__(self, x: Array, context: Context, train: bool, shortcut: Array | None = None) -> Array:
        """[batch, h, w, i] -> [batch, h', w', features]; a shortcut has that shape."""
        layer = BinaryConv(
            self.features,
            self.method,
            self.axis_name,
            self.pack_codes,
            self.kernel_size,
            self.stride,
            name="conv",
        )
        y, weight = layer(x, context, train)
        if self.pool:
            y = max_pool(y, 2, 2)
        batch_norm, slope = BatchNorm(self.axis_name, name="norm"), jnp.ones(self.features)
        l1 = norms.channel_l1(weight.value)
        floor = None if self.radius_of is None else (l1 / self.radius_of("/".join(self.path))) ** 2
        if isinstance(self.activation, LearnedActivation):
            y, norm = batch_norm(y, train, shortcut, floor=floor)
            y, slope = Activation(self.activation, name="activation")(y)
        else:
            y, norm = batch_norm(y, train, shortcut, self.activation, floor)
        stats = UnitStats(
            l1=l1,
            latent_l1=norms.channel_l1(layer.latent()),
            scale=weight.channel_scale * jnp.ones(self.features),
            gain=norm.gain,
            variance=norm.variance,
            batch_variance=norm.batch_variance,
            slope=slope,
        )
        record(self, SQUARES, norms.channel_squares(weight.value))
        _record_unit(self, stats, weight.value * (norm.gain * jax.lax.rsqrt(norm.variance)))
        return y


class Head(nn.Module):
    """The classifier: batch norm of the features if asked for, then a full-precision dense layer.

    The bound treats it as one unit: a batch norm *before* the matrix folds into its rows, where its gain
    enters every output, so the unit has no gain of its own (it is recorded as 1).

    Attributes:
      classes: outputs.
      normalize: whether the batch norm is there.
      axis_name: mapped axis of the batch norm.
    """

    classes: int
    normalize: bool = True
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """[batch, c] -> logits [batch, classes], float32."""
        x = x.astype(jnp.float32)
        multiplier = jnp.ones(x.shape[-1])
        if self.normalize:
            x, norm = BatchNorm(self.axis_name, name="input_norm")(x, train)
            multiplier = norm.gain * jax.lax.rsqrt(jax.lax.stop_gradient(norm.variance))
        dense = nn.Dense(self.classes, kernel_init=nn.initializers.lecun_normal(), name="dense")
        logits = dense(x)
        kernel = dense.get_variable("params", "kernel")
        folded = kernel * multiplier[:, None]
        one = jnp.ones(self.classes)
        stats = UnitStats(norms.channel_l1(folded), norms.channel_l1(kernel), *[one] * 5)
        _record_unit(self, stats, folded)
        return logits
