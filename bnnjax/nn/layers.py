"""Quantized layers: a convolution and a dense layer that compute with codes and scales."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array

from bnnjax.methods import Context, Initial, Method, Quantized, Site, Values
from bnnjax.ops.bits import keeping_bits
from bnnjax.ops.conv import conv, patches
from bnnjax.ops.floats import floats
from bnnjax.runtime.keys import named_key

# Collections that a forward pass fills where they are mutable: what layers add to the loss, the latent
# kernels that the method prepares before training, a quantizing layer's input and the codes made of it, and
# any layer's input.
LOSSES, PREPARED, ACTIVATIONS, INPUTS = "losses", "prepared", "activations", "inputs"
MOST_PATCHES = 2**14  # of a layer's inputs, with which the method prepares the layer's kernel


def record(module: nn.Module, collection: str, value: Any) -> None:
    """Stores a module's value in a collection, if that is mutable, and replaces an earlier value."""
    module.sow(collection, "record", value, init_fn=lambda: None, reduce_fn=lambda _, new: new)


def _rescale(y: Array, *scales: Array | None) -> Array:
    for scale in scales:
        if scale is not None:
            y = y * scale.astype(y.dtype)
    return y


def _initialize(initials: Mapping[str, Initial], key: Array, site: Site) -> dict[str, Array]:
    keys = jax.random.split(key, len(initials))
    return {name: initial(keys[n], site) for n, (name, initial) in enumerate(initials.items())}


class _Quantized(nn.Module):
    """The common base of both layers.

    The trained array is the parameter `latent` if the method quantizes weights and `kernel` if it does not;
    optimizer masks and projections go by these names.  The method's other trained arrays are the parameter
    `learned`; arrays that it carries from step to step are `memory` among the batch statistics.

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

    @nn.compact
    def __call__(self, x: Array, context: Context, train: bool = False) -> tuple[Array, Quantized]:
        """[batch, ..., i] -> [batch, ..., features] of x's dtype, and the kernel used."""
        x = floats(x)
        latent, context = self._variables(x, context)
        inputs = self._quantize_inputs(x, context)
        latent = self._prepare(latent, inputs, context)
        weight = jax.jit(self.method.quantize_weight)(latent, context)
        y = self._multiply(inputs, weight, train)
        if train and not self.is_initializing():
            self._finish_step(latent, x, context)
        return y, weight

    def latent(self) -> Array:
        """Returns the trained kernel, [..., i, o] float32; call the layer first."""
        return self.get_variable("params", self._name)

    @property
    def _name(self) -> str:
        return "kernel" if self.method.wbits == 32 else "latent"

    @abstractmethod
    def _kernel_shape(self, x: Array) -> tuple[int, ...]:
        """Returns the shape of the kernel, [..., i, o]."""

    @abstractmethod
    def _output_shape(self, x: Array) -> tuple[int, ...]:
        """Returns the shape of one image's output, [..., o]."""

    @abstractmethod
    def _product(
        self, codes: Array, kernel: Array, scale: Array | None, signs_of: Array | None = None
    ) -> Array:
        """Returns the product of inputs and kernel times the scale; see `conv` for signs_of."""

    @abstractmethod
    def _patches(self, inputs: Array) -> Array:
        """Returns the patches of the inputs that the kernel is multiplied with, [n, fan_in]."""

    def _variables(self, x: Array, context: Context) -> tuple[Array, Context]:
        """Returns the trained kernel, and the context with this layer's own arrays and key."""
        latent = self.param(self._name, nn.initializers.he_normal(), self._kernel_shape(x), jnp.float32)
        method, site = self.method, Site(latent, self._output_shape(x))
        if context.training is not None:
            key = named_key(context.training.key, "/".join(self.path))
            context = context._replace(training=context.training._replace(key=key))
        if method.learned:
            learned = self.param("learned", lambda key: _initialize(method.learned, key, site))
            context = context._replace(learned=learned)
        if method.memory:
            memory = self.variable(
                "batch_stats", "memory", lambda: _initialize(method.memory, self.make_rng("params"), site)
            )
            context = context._replace(memory=memory.value)
        return latent, context

    def _quantize_inputs(self, x: Array, context: Context) -> Quantized:
        """Returns the quantized inputs, and records them."""
        # Jitted, as the weights' quantizer is, so that it is traced once for all layers of a shape; otherwise
        # it is half of a step's tracing.
        inputs = jax.jit(self.method.quantize_activation)(x, context)
        if not self.is_initializing():
            record(self, INPUTS, x)
            if self.method.abits < 32:
                record(self, ACTIVATIONS, (x, inputs.codes))
        return inputs

    def _prepare(self, latent: Array, inputs: Quantized, context: Context) -> Array:
        """Returns the latent kernel to use: one that the method prepares, if its collection is mutable."""
        prepare = self.method.prepare
        if prepare is None or self.is_initializing() or not self.is_mutable_collection(PREPARED):
            return latent
        prepared = jax.jit(prepare)(latent, self._patches(inputs.value.astype(jnp.float32)), context)
        self.put_variable(PREPARED, self._name, prepared)
        return prepared

    def _multiply(self, inputs: Quantized, weight: Quantized, train: bool) -> Array:
        """Returns the product of the codes times both scales."""
        kernel, scale = weight.codes.astype(inputs.codes.dtype), weight.scale
        varies = scale is not None and scale.ndim > 1  # with the pixel
        given = None if varies else scale
        has_codes = not (self.method.is_native and inputs.signs_of is not None)  # see `conv`
        if train and self.pack_codes and has_codes:
            y = keeping_bits(self._product)(inputs.codes, kernel, given)
        else:
            y = self._product(inputs.codes, kernel, given, inputs.signs_of)
        return _rescale(y, scale if varies else None, inputs.scale)

    def _finish_step(self, latent: Array, x: Array, context: Context) -> None:
        """Stores what the layer adds to the loss, and its memory after this step's forward pass."""
        method = self.method
        if method.layer_loss is not None:
            record(self, LOSSES, method.layer_loss(latent, x, context, self._mean))
        if method.remember is not None:
            seen = jax.lax.stop_gradient((latent, x, context))
            self.put_variable("batch_stats", "memory", method.remember(*seen, self._mean))

    def _mean(self, tree: Any) -> Any:
        return tree if self.axis_name is None else jax.lax.pmean(tree, self.axis_name)


class BinaryConv(_Quantized):
    """Convolution of quantized activations with a quantized kernel: scale * conv(codes(x), codes(W)).

    [batch, h, w, i] -> [batch, h / stride, w / stride, features].  The product of codes is exact in any order
    of summation, and so the same on every device.

    Attributes:
      kernel_size: rows and columns of the kernel; odd, padded so that stride 1 keeps the size.
      stride: of both axes.
      padding_value: value of the padding of the activation codes.
    """

    kernel_size: int = 3
    stride: int = 1
    padding_value: float = 0.0

    @property
    def _where(self) -> dict[str, Any]:
        return {
            "stride": self.stride,
            "padding": self.kernel_size // 2,
            "padding_value": self.padding_value,
        }

    def _kernel_shape(self, x: Array) -> tuple[int, ...]:
        return (self.kernel_size, self.kernel_size, x.shape[-1], self.features)

    def _output_shape(self, x: Array) -> tuple[int, ...]:
        rows, columns = ((size - 1) // self.stride + 1 for size in x.shape[1:3])
        return (rows, columns, self.features)

    def _product(
        self, codes: Array, kernel: Array, scale: Array | None, signs_of: Array | None = None
    ) -> Array:
        signs = self.method.is_native
        return conv(codes, kernel, scale=scale, signs=signs, signs_of=signs_of, **self._where)

    def _patches(self, inputs: Array) -> Array:
        return patches(inputs, self.kernel_size, most=MOST_PATCHES, **self._where)


class BinaryDense(_Quantized):
    """Product of quantized activations with a quantized matrix: scale * codes(x) @ codes(W), no bias.

    [batch, i] -> [batch, features].
    """

    def _kernel_shape(self, x: Array) -> tuple[int, ...]:
        return (x.shape[-1], self.features)

    def _output_shape(self, x: Array) -> tuple[int, ...]:
        return (self.features,)

    def _product(
        self, codes: Array, kernel: Array, scale: Array | None, signs_of: Array | None = None
    ) -> Array:
        return _rescale(codes @ kernel, scale)

    def _patches(self, inputs: Array) -> Array:
        return inputs[:MOST_PATCHES]


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
