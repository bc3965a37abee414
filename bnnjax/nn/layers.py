"""Quantized layers: a convolution and a dense layer that work on codes and scales."""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array

from bnnjax.methods import Initial, Method, Quantized, Site, Values
from bnnjax.ops.bits import keeping_bits
from bnnjax.ops.conv import conv, patches

# Collections that a forward pass fills where they are mutable: what layers add to the loss, the latent
# kernels that the method prepares before training, a quantizing layer's input and the codes made of it, and
# any layer's input.
LOSSES, PREPARED, ACTIVATIONS, INPUTS = "losses", "prepared", "activations", "inputs"
MOST_PATCHES = 2**14  # of a layer's inputs, for the method to prepare its kernel by


def _rescale(y: Array, *scales: Array | None) -> Array:
    for scale in scales:
        if scale is not None:
            y = y * scale.astype(y.dtype)
    return y


def _initialize(initials: Mapping[str, Initial], key: Array, site: Site) -> dict[str, Array]:
    keys = jax.random.split(key, len(initials))
    return {name: initial(keys[n], site) for n, (name, initial) in enumerate(initials.items())}


class _Quantized(nn.Module):
    """What both layers share.

    The trained array is the parameter `latent` where the method quantizes weights and `kernel` where it does
    not; optimizer masks and projections go by these names.  What the method trains beside it is the parameter
    `learned`, what it carries along is `memory` among the batch statistics.

    Attributes:
      features: output channels.
      method: the binarization method; `fp()` makes a full-precision layer.
      axis_name: mapped axis over which the method averages what it remembers.
      pack_codes: whether training keeps the activations' codes as bits for the backward pass; they must have
        two values, as 1-bit activations do.
    """

    features: int
    method: Method
    axis_name: str | None = None
    pack_codes: bool = False

    @property
    def _name(self) -> str:
        return "kernel" if self.method.wbits == 32 else "latent"

    def latent(self) -> Array:
        """Returns the trained kernel, [..., i, o] float32; call the layer first."""
        return self.get_variable("params", self._name)

    def _quantized(
        self,
        product: Callable[[Array, Array], Array],
        gather: Callable[[Array], Array],
        x: Array,
        shape: tuple[int, ...],
        output_shape: tuple[int, ...],
        schedule: Values,
        train: bool,
    ) -> tuple[Array, Quantized]:
        method = self.method
        latent = self.param(self._name, nn.initializers.he_normal(), shape, jnp.float32)
        site = Site(latent, output_shape)
        values = dict(schedule)
        if "key" in values:
            values["key"] = jax.random.fold_in(values["key"], zlib.crc32("/".join(self.path).encode()))
        if method.learned:
            values |= self.param("learned", lambda key: _initialize(method.learned, key, site))
        if method.memory:
            memory = self.variable(
                "batch_stats", "memory", lambda: _initialize(method.memory, self.make_rng("params"), site)
            )
            values |= memory.value
        # Jitted, so that they are traced once for all layers of a shape: half of a step's tracing otherwise.
        inputs = jax.jit(method.quantize_activation)(x, values)
        if not self.is_initializing():
            self.sow(INPUTS, "record", x, init_fn=lambda: None, reduce_fn=lambda _, new: new)
            if method.abits < 32:
                both = (x, inputs.codes)
                self.sow(ACTIVATIONS, "record", both, init_fn=lambda: None, reduce_fn=lambda _, new: new)
        if method.prepare is not None and not self.is_initializing() and self.is_mutable_collection(PREPARED):
            latent = jax.jit(method.prepare)(latent, gather(inputs.value.astype(jnp.float32)), values)
            self.put_variable(PREPARED, self._name, latent)
        weight = jax.jit(method.quantize_weight)(latent, values)
        if train and self.pack_codes:
            product = keeping_bits(product)
        y = _rescale(product(inputs.codes, weight.codes.astype(x.dtype)), weight.scale, inputs.scale)
        if train and not self.is_initializing():
            if method.layer_loss is not None:
                loss = method.layer_loss(latent, x, values, self._mean)
                self.sow(LOSSES, "layer", loss, init_fn=lambda: None, reduce_fn=lambda _, new: new)
            if method.remember is not None:
                seen = jax.lax.stop_gradient((latent, x, values))
                memory.value = method.remember(*seen, self._mean)
        return y, weight

    def _mean(self, tree: Any) -> Any:
        return tree if self.axis_name is None else jax.lax.pmean(tree, self.axis_name)


class BinaryConv(_Quantized):
    """Convolution of quantized activations with a quantized kernel: scale * conv(codes(x), codes(W)).

    The product of codes is exact whatever the order of its sums, so that it is the same on every device.

    Attributes:
      kernel_size: rows and columns of the kernel; odd, padded so that stride 1 keeps the size.
      stride: of both axes.
      padding_value: what the border of the activation codes is filled with.
    """

    kernel_size: int = 3
    stride: int = 1
    padding_value: float = 0.0

    @nn.compact
    def __call__(self, x: Array, schedule: Values, train: bool = False) -> tuple[Array, Quantized]:
        """[batch, h, w, i] -> [batch, h / stride, w / stride, features] of x's dtype, and the kernel used."""
        where: dict[str, Any] = {
            "stride": self.stride,
            "padding": self.kernel_size // 2,
            "padding_value": self.padding_value,
        }

        def product(codes: Array, kernel: Array) -> Array:
            return conv(codes, kernel, **where)

        def gather(inputs: Array) -> Array:
            return patches(inputs, self.kernel_size, most=MOST_PATCHES, **where)

        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        rows, columns = ((size - 1) // self.stride + 1 for size in x.shape[1:3])
        return self._quantized(product, gather, x, shape, (rows, columns, self.features), schedule, train)


class BinaryDense(_Quantized):
    """Product of quantized activations with a quantized matrix: scale * codes(x) @ codes(W), no bias."""

    @nn.compact
    def __call__(self, x: Array, schedule: Values, train: bool = False) -> tuple[Array, Quantized]:
        """[batch, i] -> [batch, features] of x's dtype, and the kernel used."""
        shape = (x.shape[-1], self.features)
        return self._quantized(
            jnp.matmul, lambda inputs: inputs[:MOST_PATCHES], x, shape, (self.features,), schedule, train
        )


def remember_gradients(
    batch_stats: Mapping[str, Any],
    gradients: Mapping[str, Any],
    remember: Callable[[Values, Array], Values],
) -> dict[str, Any]:
    """Returns batch_stats with `remember` applied to the memory of every quantized layer.

    Args:
      batch_stats: with a `memory` for each.
      gradients: of the parameters.
      remember: (memory, gradient of the latent kernel) -> memory.
    """
    new = flatten_dict(batch_stats)
    for path, gradient in flatten_dict(gradients).items():
        if path[-1] == "latent":
            here = (*path[:-1], "memory")
            memory = {name[-1]: value for name, value in new.items() if name[:-1] == here}
            new |= {(*here, name): value for name, value in remember(memory, gradient).items()}
    return unflatten_dict(new)
