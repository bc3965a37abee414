"""Convolution on CPUs with hand-written gradients, since XLA is slow at those that autodiff makes.

<conv(x, kernel), g> is linear in each of x, kernel and g.  Its derivatives by these are the gradient by x,
the gradient by the kernel and the convolution itself, and each of the three is a convolution.  All are
compiled separately from the code around them; see `outlined`.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.ops.outline import outlined

LAYOUT = ("NHWC", "HWIO", "NHWC")


def _convolve(x: Array, kernel: Array, stride: int, padding: Any, **dilation: Any) -> Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=LAYOUT, **dilation
    )


def _convolve_small_too(
    x: Array, kernel: Array, stride: int, padding: list[tuple[int, int]], dilation: int = 1
) -> Array:
    """Convolves x, stretched by dilation.

    Where x is smaller than the kernel, XLA's convolution takes up to 80 times as long as a matrix product.
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
    return _convolve_small_too(x, kernel, stride, [(padding, padding)] * 2)


def _input_gradient(g: Array, kernel: Array, shape: tuple[int, ...], stride: int, padding: int) -> Array:
    """Convolves the stretched gradient with the kernel turned by 180 degrees."""
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    low = [k - 1 - padding for k in kernel.shape[:2]]
    high = [n - ((o - 1) * stride + 1) + padding for n, o in zip(shape[1:3], g.shape[1:3], strict=True)]
    return _convolve_small_too(g, turned, 1, list(zip(low, high, strict=True)), stride)


def _kernel_gradient(x: Array, g: Array, shape: tuple[int, ...], stride: int, padding: int) -> Array:
    """Convolves x with the stretched gradient, with batch and channels exchanged.

    Autodiff leaves these transposes to the compiler, which then misses its fast kernel outside the outermost
    computation.
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
by_kernel = outlined(_kernel_gradient, (2, 3, 4))


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv_on_cpu(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    """Convolves x [batch, h, w, i] with kernel [kh, kw, i, o], the border filled with zeros."""
    return _outlined_convolution(x, kernel, stride, padding)


def _forward(x: Array, kernel: Array, stride: int, padding: int) -> tuple[Array, tuple[Array, Array]]:
    return conv_on_cpu(x, kernel, stride, padding), (x, kernel)


def _backward(stride: int, padding: int, residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    return by_input(g, kernel, x.shape, stride, padding), by_kernel(x, g, kernel.shape, stride, padding)


conv_on_cpu.defvjp(_forward, _backward)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def by_input(g: Array, kernel: Array, shape: tuple[int, ...], stride: int, padding: int) -> Array:
    """Returns the gradient by x, of x's shape.

    It is linear in g and in the kernel.  Its own derivatives are the same three convolutions again:
    <x', by_input(g)> = <conv(x'), g>.
    """
    return _outlined_input_gradient(g, kernel, shape, stride, padding)


def _by_input_forward(
    g: Array, kernel: Array, shape: tuple[int, ...], stride: int, padding: int
) -> tuple[Array, tuple[Array, Array]]:
    return by_input(g, kernel, shape, stride, padding), (g, kernel)


def by_input_backward(
    shape: tuple[int, ...], stride: int, padding: int, residuals: tuple[Array, Array], x: Array
) -> tuple[Array, Array]:
    """Returns the gradients of `by_input` by g and by the kernel, where x is the cotangent."""
    g, kernel = residuals
    return conv_on_cpu(x, kernel, stride, padding), by_kernel(x, g, kernel.shape, stride, padding)


by_input.defvjp(_by_input_forward, by_input_backward)
