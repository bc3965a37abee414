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


def patches(
    x: Array, kernel_size: int, *, stride: int = 1, padding: int = 0, padding_value: float = 0.0, most: int
) -> Array:
    """Returns what a kernel meets in places of the images, so that patches @ kernel.reshape(-1, o) convolves.

    Args:
      x: [batch, h, w, i].
      kernel_size: its rows and columns.
      stride: see `conv`, as for padding and padding_value.
      most: of more places than that, so many random ones are taken, always the same for the same shapes.

    Returns:
      [places, kernel_size * kernel_size * i], in the order of batch, row and column.
    """
    border = (padding, padding)
    x = jnp.pad(x, ((0, 0), border, border, (0, 0)), constant_values=padding_value)
    rows, columns = ((size - kernel_size) // stride + 1 for size in x.shape[1:3])
    places = jnp.arange(len(x) * rows * columns)
    if len(places) > most:
        places = jnp.sort(jax.random.choice(jax.random.key(0), places, (most,), replace=False))
    indices = jnp.unravel_index(places, (len(x), rows, columns))
    image, row, column = (index[:, None, None] for index in indices)
    window = jnp.arange(kernel_size)
    found = x[image, stride * row + window[:, None], stride * column + window]
    return found.reshape(len(places), -1)


def _convolve(x: Array, kernel: Array, stride: int, padding: Any, **dilation: Any) -> Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=LAYOUT, **dilation
    )


def _plain(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    return _convolve(x, kernel, stride, [(padding, padding)] * 2)


def _convolve_on_cpu(
    x: Array, kernel: Array, stride: int, padding: list[tuple[int, int]], dilation: int = 1
) -> Array:
    """Convolves x, stretched by dilation.

    Where x is smaller than the kernel XLA takes up to 80 times longer than the product of matrices.
    """
    kh, kw, inputs, features = kernel.shape
    if x.shape[1] >= kh and x.shape[2] >= kw:
        return _convolve(x, kernel, stride, padding, lhs_dilation=(dilation, dilation))
    edges = [(0, 0, 0), *((low, high, dilation - 1) for low, high in padding), (0, 0, 0)]
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), edges)
    rows, columns = x.shape[1] - kh + 1, x.shape[2] - kw + 1
    taps = [x[:, h : h + rows : stride, w : w + columns : stride] for h in range(kh) for w in range(kw)]
    return jnp.concatenate(taps, -1) @ kernel.reshape(kh * kw * inputs, features)


def _convolve_padded(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    return _convolve_on_cpu(x, kernel, stride, [(padding, padding)] * 2)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    return _outlined_convolution(x, kernel, stride, padding)


def _forward(x: Array, kernel: Array, stride: int, padding: int) -> tuple[Array, tuple[Array, Array]]:
    return _conv(x, kernel, stride, padding), (x, kernel)


def _backward(stride: int, padding: int, residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    dx = _transposed(g, kernel, x.shape, stride, padding)
    return dx, _outlined_kernel_gradient(x, g, kernel.shape, stride, padding)


_conv.defvjp(_forward, _backward)


# The gradient by x is linear in g and in the kernel.  Where it is differentiated once more, the same three
# convolutions come back: <x', transposed(g)> = <conv(x'), g>.
@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _transposed(g: Array, kernel: Array, shape: tuple[int, ...], stride: int, padding: int) -> Array:
    return _outlined_input_gradient(g, kernel, shape, stride, padding)


def _transposed_forward(
    g: Array, kernel: Array, shape: tuple[int, ...], stride: int, padding: int
) -> tuple[Array, tuple[Array, Array]]:
    return _transposed(g, kernel, shape, stride, padding), (g, kernel)


def _transposed_backward(
    shape: tuple[int, ...], stride: int, padding: int, residuals: tuple[Array, Array], x: Array
) -> tuple[Array, Array]:
    g, kernel = residuals
    return _conv(x, kernel, stride, padding), _outlined_kernel_gradient(x, g, kernel.shape, stride, padding)


_transposed.defvjp(_transposed_forward, _transposed_backward)


def _input_gradient(g: Array, kernel: Array, shape: tuple[int, ...], stride: int, padding: int) -> Array:
    """Convolves the stretched gradient with the kernel turned by 180 degrees."""
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    low = [k - 1 - padding for k in kernel.shape[:2]]
    high = [n - ((o - 1) * stride + 1) + padding for n, o in zip(shape[1:3], g.shape[1:3], strict=True)]
    return _convolve_on_cpu(g, turned, 1, list(zip(low, high, strict=True)), stride)


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


_outlined_convolution = outlined(_convolve_padded, (2, 3))
_outlined_input_gradient = outlined(_input_gradient, (2, 3, 4))
_outlined_kernel_gradient = outlined(_kernel_gradient, (2, 3, 4))
