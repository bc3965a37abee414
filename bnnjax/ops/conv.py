"""The convolution, NHWC images and HWIO kernels, with gradients that are fast on CPUs too."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.ops.outline import outlined

LAYOUT = ("NHWC", "HWIO", "NHWC")


def conv(x: Array, kernel: Array, *, stride: int = 1, padding: int = 0, padding_value: float = 0.0) -> Array:
    """Convolves images with a kernel, the border filled with padding_value.

    y[b, p, q, o] = sum_{h, w, i} x[b, stride p + h - padding, stride q + w - padding, i] kernel[h, w, i, o]

    Args:
      x: [batch, h, w, i].
      kernel: [kh, kw, i, o], of x's dtype.
      stride: of both axes.
      padding: rows and columns added on each side.
      padding_value: what they hold.  0 injects zeros between the signs of a binary activation map, as the
        published networks do; +1 or -1 keeps the map binary.

    Returns:
      [batch, (h + 2 padding - kh) // stride + 1, likewise, o].
    """
    if padding_value:
        border = (padding, padding)
        x = jnp.pad(x, ((0, 0), border, border, (0, 0)), constant_values=padding_value)
        padding = 0
    if jax.default_backend() == "cpu":
        return _conv(x, kernel, stride, padding)
    return _plain(x, kernel, stride, padding)


def _convolve(x: Array, kernel: Array, stride: int, padding: Any, **dilation: Any) -> Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=LAYOUT, **dilation
    )


def _plain(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    return _convolve(x, kernel, stride, [(padding, padding)] * 2)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    return _outlined_plain(x, kernel, stride, padding)


def _forward(x: Array, kernel: Array, stride: int, padding: int) -> tuple[Array, tuple[Array, Array]]:
    return _conv(x, kernel, stride, padding), (x, kernel)


def _backward(stride: int, padding: int, residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    dx = _outlined_input_gradient(g, kernel, x.shape, stride, padding)
    return dx, _outlined_kernel_gradient(x, g, kernel.shape, stride, padding)


_conv.defvjp(_forward, _backward)


def _input_gradient(g: Array, kernel: Array, shape: tuple[int, ...], stride: int, padding: int) -> Array:
    """Convolves the stretched gradient with the kernel turned by 180 degrees."""
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    low = [k - 1 - padding for k in kernel.shape[:2]]
    high = [n - ((o - 1) * stride + 1) + padding for n, o in zip(shape[1:3], g.shape[1:3], strict=True)]
    return _convolve(g, turned, 1, list(zip(low, high, strict=True)), lhs_dilation=(stride, stride))


def _kernel_gradient(x: Array, g: Array, shape: tuple[int, ...], stride: int, padding: int) -> Array:
    """Convolves x with the stretched gradient, channels in the place of the batch and the other way round.

    Autodiff leaves these transposes to the compiler, which outside of the outermost computation then misses
    its fast kernel.
    """
    high = [
        k - 1 + (o - 1) * stride + 1 - n - padding
        for k, o, n in zip(shape[:2], g.shape[1:3], x.shape[1:3], strict=True)
    ]
    gradient = _convolve(
        x.transpose(3, 1, 2, 0),
        g.transpose(1, 2, 0, 3),
        1,
        [(padding, h) for h in high],
        rhs_dilation=(stride, stride),
    )
    return gradient.transpose(1, 2, 0, 3)


_outlined_plain = outlined(_plain, (2, 3))
_outlined_input_gradient = outlined(_input_gradient, (2, 3, 4))
_outlined_kernel_gradient = outlined(_kernel_gradient, (2, 3, 4))
