"""Quantized layers: a convolution and a dense layer that work on codes and scales."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.methods import Method, Quantized, Schedule
from bnnjax.ops.conv import conv


def _rescale(y: Array, *scales: Array | None) -> Array:
    for scale in scales:
        if scale is not None:
            y = y * scale.astype(y.dtype)
    return y


class _Quantized(nn.Module):
    """What both layers share.

    The trained array is the parameter `latent` where the method quantizes weights and `kernel` where it does
    not; optimizer masks and projections go by these names.

    Attributes:
      features: output channels.
      method: the binarization method; `fp()` makes a full-precision layer.
    """

    features: int
    method: Method

    @property
    def _name(self) -> str:
        return "kernel" if self.method.wbits == 32 else "latent"

    def latent(self) -> Array:
        """Returns the trained kernel, [..., i, o] float32; call the layer first."""
        return self.get_variable("params", self._name)

    def weight(self, schedule: Schedule) -> Quantized:
        """Returns the kernel as the forward pass uses it; call the layer first."""
        # Jitted, so that it is traced once for all kernels of a shape: half of a step's tracing otherwise.
        return jax.jit(self.method.quantize_weight)(self.latent(), schedule)


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
    def __call__(self, x: Array, schedule: Schedule) -> Array:
        """[batch, h, w, i] -> [batch, h / stride, w / stride, features], of x's dtype."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        self.param(self._name, nn.initializers.he_normal(), shape, jnp.float32)
        weight, inputs = self.weight(schedule), self.method.quantize_activation(x, schedule)
        y = conv(
            inputs.codes,
            weight.codes.astype(x.dtype),
            stride=self.stride,
            padding=self.kernel_size // 2,
            padding_value=self.padding_value,
        )
        return _rescale(y, weight.scale, inputs.scale)


class BinaryDense(_Quantized):
    """Product of quantized activations with a quantized matrix: scale * codes(x) @ codes(W), no bias."""

    @nn.compact
    def __call__(self, x: Array, schedule: Schedule) -> Array:
        """[batch, i] -> [batch, features], of x's dtype."""
        shape = (x.shape[-1], self.features)
        self.param(self._name, nn.initializers.he_normal(), shape, jnp.float32)
        weight, inputs = self.weight(schedule), self.method.quantize_activation(x, schedule)
        return _rescale(inputs.codes @ weight.codes.astype(x.dtype), weight.scale, inputs.scale)
