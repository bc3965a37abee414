"""The library in JAX: which implementation runs here, and the convolution as a custom call."""

import ctypes
import functools
import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bnnjax.native.build import BuildError, build
from bnnjax.runtime.console import complain

VARIABLE = "BNNJAX_KERNELS"
CALLS = ("convolve", "input_gradient", "kernel_gradient")
MOST_PRODUCTS = 2**15 - 1  # of a sum of codes; it is held in 16 bits
MOST_TAPS = 2**10  # of a kernel


@functools.cache
def load() -> ctypes.CDLL:
    """Returns the library, built if need be, its functions known to JAX.

    Raises:
      BuildError: it could not be built.
      OSError: it could not be loaded.
    """
    library = ctypes.CDLL(str(build()))
    library.bnn_find.argtypes = [ctypes.c_char_p]
    library.bnn_find.restype = ctypes.c_char_p
    for name in CALLS:
        address = jax.ffi.pycapsule(library[f"bnn_xla_{name}"])
        jax.ffi.register_ffi_target(f"bnnjax_{name}", address, platform="cpu")
    return library


@functools.cache
def kernels() -> str:
    """Returns the implementation of binary convolutions in this process: scalar, avx2, avx512bw, neon or xla.

    The fastest that the CPU has, unless the environment variable BNNJAX_KERNELS names another; xla, which is
    JAX's own convolution, where the library cannot be built.  All give the same bits.

    Raises:
      ValueError: if the variable names what is not there.
    """
    wanted = os.environ.get(VARIABLE) or None
    if wanted == "xla" or jax.default_backend() != "cpu":
        return "xla"
    try:
        found: bytes | None = load().bnn_find(None if wanted is None else wanted.encode())
    except (BuildError, OSError) as error:
        complain(f"binary convolutions are XLA's, which are slower than ours: {error}")
        return "xla"
    if found is None and wanted is not None:
        raise ValueError(f"{VARIABLE} must name what this machine has; got {wanted}")
    if found is None:
        complain("binary convolutions are XLA's: ours give other sums than they should; please report this")
        return "xla"
    return found.decode()


def convolves(codes: Array, kernel: Array) -> bool:
    """Returns whether `convolve` and its gradients can be called with arrays of these shapes and dtypes."""
    taps = kernel.shape[0] * kernel.shape[1]
    fits = taps <= MOST_TAPS and taps * kernel.shape[2] <= MOST_PRODUCTS
    return fits and codes.dtype == kernel.dtype == np.float32 and kernels() != "xla"


def convolve(
    x: Array,
    kernel: Array,
    stride: int,
    padding: int,
    padding_value: int = 0,
    *,
    scale: Array | None = None,
    reals: bool = False,
    implementation: str = "",
) -> Array:
    """Returns the convolution of codes of +-1 times a scale; no gradient is defined.

    Args:
      x: [batch, h, w, i] float32.
      kernel: [kh, kw, i, o] float32, of +-1.
      stride: of both axes.
      padding: rows and columns added on each side.
      padding_value: what they hold, 0, +1 or -1.
      scale: [o] float32; None is 1.
      reals: whether the codes are the signs of x, of which those of 0 and -0 are +1, and not x itself.
      implementation: one that the CPU has; by default `kernels()`.

    Returns:
      [batch, (h + 2 padding - kh) // stride + 1, likewise, o] float32, of exact sums; NaN if any code is not
      +-1, or any real number NaN.
    """
    rows, columns = (
        (size + 2 * padding - k) // stride + 1 for size, k in zip(x.shape[1:3], kernel.shape[:2], strict=True)
    )
    scale = jnp.ones(kernel.shape[3], kernel.dtype) if scale is None else scale
    shape = (x.shape[0], rows, columns, kernel.shape[3])
    where = _Where(stride, padding, padding_value, reals)
    return _call("convolve", (x, kernel, scale), shape, where, implementation)


def input_gradient(
    g: Array, kernel: Array, shape: tuple[int, ...], stride: int, padding: int, *, implementation: str = ""
) -> Array:
    """Returns the gradient of <g, convolution of x with the kernel> by x, where the padding holds zeros.

    Sums have one order: the result has the same bits by every implementation, with any number of threads.

    Args:
      g: [batch, p, q, o] float32.
      kernel: [kh, kw, i, o] float32, any numbers.
      shape: of x, [batch, h, w, i].
      stride: see `convolve`, as for padding and implementation.
    """
    return _call("input_gradient", (g, kernel), shape, _Where(stride, padding), implementation)


def kernel_gradient(
    x: Array,
    g: Array,
    shape: tuple[int, ...],
    stride: int,
    padding: int,
    *,
    reals: bool = False,
    implementation: str = "",
) -> Array:
    """Returns the gradient of <g, convolution of codes with the kernel> by the kernel; see `input_gradient`.

    Args:
      x: [batch, h, w, i] float32, the codes or what they are the signs of.
      g: [batch, p, q, o] float32.
      shape: of the kernel, [kh, kw, i, o].
      stride: see `convolve`, as for padding, reals and implementation.

    Returns:
      The gradient; NaN where `convolve` gives NaN.
    """
    return _call("kernel_gradient", (x, g), shape, _Where(stride, padding, reals=reals), implementation)


class _Where(NamedTuple):
    """The attributes of a call, by the names that the library gives them."""

    stride: int
    padding: int
    padding_value: int = 0
    reals: bool = False


def _call(
    name: str, arrays: tuple[Array, ...], shape: tuple[int, ...], where: _Where, implementation: str
) -> Array:
    load()  # in case that a caller names an implementation
    result = jax.ShapeDtypeStruct(shape, arrays[0].dtype)
    call = jax.ffi.ffi_call(f"bnnjax_{name}", result, vmap_method="sequential")
    attributes = {name: np.int64(value) for name, value in where._asdict().items()}
    return call(*arrays, implementation=implementation or kernels(), **attributes)
