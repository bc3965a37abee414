"""Convolution of codes of +-1 times a scale on CPUs, by kernels in C (`bnnjax.native`), and its gradients.

The gradients are sums of real numbers, and where they are differentiated again, so are the derivatives of
those: these are the convolutions of `conv_cpu`.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.native import library
from bnnjax.ops.conv_cpu import by_input, by_input_backward, conv_on_cpu


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def conv_codes(
    codes: Array, kernel: Array, scale: Array, signs_of: Array | None, stride: int, padding: int
) -> Array:
    """Returns scale[o] conv(codes, kernel), the border filled with zeros.

    Args:
      codes: [batch, h, w, i] float32, of +-1.
      kernel: [kh, kw, i, o] float32, of +-1.
      scale: [o] float32.
      signs_of: the array whose signs the codes are, if there is one; then it is computed with, and codes are
        for their gradient alone, which saves computing them.
      stride: of both axes.
      padding: rows and columns added on each side.
    """
    given, reals = _given(codes, signs_of)
    return library.convolve(given, kernel, stride, padding, scale=scale, reals=reals)


def _given(codes: Array, signs_of: Array | None) -> tuple[Array, bool]:
    return (codes, False) if signs_of is None else (signs_of, True)


Residuals = tuple[Array, Array, Array, Array | None]


def _forward(
    codes: Array, kernel: Array, scale: Array, signs_of: Array | None, stride: int, padding: int
) -> tuple[Array, Residuals]:
    return conv_codes(codes, kernel, scale, signs_of, stride, padding), (codes, kernel, scale, signs_of)


def _backward(stride: int, padding: int, residuals: Residuals, g: Array) -> tuple[Array, Array, Array, None]:
    codes, kernel, scale, signs_of = residuals
    unscaled = _by_kernel(codes, g, signs_of, kernel.shape, stride, padding)
    by_scale = jnp.sum(unscaled * kernel, axis=(0, 1, 2))
    return _by_codes(g, kernel * scale, codes.shape, stride, padding), unscaled * scale, by_scale, None


conv_codes.defvjp(_forward, _backward)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _by_codes(g: Array, kernel: Array, shape: tuple[int, ...], stride: int, padding: int) -> Array:
    return library.input_gradient(g, kernel, shape, stride, padding)


def _by_codes_forward(
    g: Array, kernel: Array, shape: tuple[int, ...], stride: int, padding: int
) -> tuple[Array, tuple[Array, Array]]:
    return _by_codes(g, kernel, shape, stride, padding), (g, kernel)


_by_codes.defvjp(_by_codes_forward, by_input_backward)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _by_kernel(
    codes: Array, g: Array, signs_of: Array | None, shape: tuple[int, ...], stride: int, padding: int
) -> Array:
    given, reals = _given(codes, signs_of)
    return library.kernel_gradient(given, g, shape, stride, padding, reals=reals)


def _by_kernel_forward(
    codes: Array, g: Array, signs_of: Array | None, shape: tuple[int, ...], stride: int, padding: int
) -> tuple[Array, tuple[Array, Array]]:
    return _by_kernel(codes, g, signs_of, shape, stride, padding), (codes, g)


def _by_kernel_backward(
    shape: tuple[int, ...], stride: int, padding: int, residuals: tuple[Array, Array], kernel: Array
) -> tuple[Array, Array, None]:
    # The kernel is a cotangent: <kernel, by_kernel(codes, g)> = <conv(codes, kernel), g>.
    codes, g = residuals
    by_codes = by_input(g, kernel, codes.shape, stride, padding)
    return by_codes, conv_on_cpu(codes, kernel, stride, padding), None


_by_kernel.defvjp(_by_kernel_forward, _by_kernel_backward)
