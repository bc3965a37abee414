"""The library in JAX: which implementation runs here, and the convolution as a custom call."""

import ctypes
import functools
import os

import jax
import numpy as np
from jax import Array

from bnnjax.native.build import BuildError, build
from bnnjax.runtime.console import complain

VARIABLE = "BNNJAX_KERNELS"
CALLS = ("convolve", "input_gradient", "kernel_gradient")
MOST_PRODUCTS = 2**15 - 1  # of a sum of codes; it is held in 16 bits
MOST_TAPS = 2**10  # of a kernel whose gradients are asked for


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


def convolves(x: Array, kernel: Array) -> bool:
    """Returns whether `convolve` can be called with arrays of these shapes and dtypes."""
    products = kernel.shape[0] * kernel.shape[1] * kernel.shape[2]
    return differentiates(x, kernel, kernel.shape) and products <= MOST_PRODUCTS


def differentiates(first: Array, second: Array, shape: tuple[int, ...]) -> bool:
    """Returns whether the gradients can be called with arrays of these dtypes, for a kernel of this shape."""
    fits = first.dtype == second.dtype == np.float32 and shape[0] * shape[1] <= MOST_TAPS
    return fits and kernels() != "xla"


def convolve(
    x: Array, kernel: Array, stride: int, padding: int, padding_value: int = 0, implementation: str = ""
) -> Array:
    """Convolves codes of +-1; no gradient is defined.

    Args:
      x: [batch, h, w, i] float32.
      kernel: [kh, kw, i, o] float32.
      stride: of both axes.
      padding: rows and columns added on each side.
      padding_value: what they hold, 0, +1 or -1.
      implementation: one that the CPU has; by default `kernels()`.

    Returns:
      [batch, (h + 2 padding - kh) // stride + 1, likewise, o] float32, exact; NaN if any code is not +-1.
    """
    rows, columns = (
        (size + 2 * padding - k) // stride + 1 for size, k in zip(x.shape[1:3], kernel.shape[:2], strict=True)
    )
    shape = (x.shape[0], rows, columns, kernel.shape[3])
    return _call("convolve", x, kernel, shape, stride, padding, padding_value, implementation)


def input_gradient(
    g: Array, kernel: Array, shape: tuple[int, ...], stride: int, padding: int, implementation: str = ""
) -> Array:
    """Returns the gradient of <g, convolution of x with the kernel> by x, where the padding holds zeros.

    Sums have one order: the result has the same bits by every implementation, with any number of threads.

    Args:
      g: [batch, p, q, o] float32.
      kernel: [kh, kw, i, o] float32, any numbers.
      shape: of x, [batch, h, w, i].
      stride: see `convolve`, as for padding and implementation.
    """
    return _call("input_gradient", g, kernel, shape, stride, padding, 0, implementation)


def kernel_gradient(
    x: Array, g: Array, shape: tuple[int, ...], stride: int, padding: int, implementation: str = ""
) -> Array:
    """Returns the gradient of <g, convolution of x with the kernel> by the kernel; as for `input_gradient`.

    Args:
      x: [batch, h, w, i] float32, of +-1.
      g: [batch, p, q, o] float32.
      shape: of the kernel, [kh, kw, i, o].
      stride: see `convolve`, as for padding and implementation.

    Returns:
      The gradient; NaN if any code is not +-1.
    """
    return _call("kernel_gradient", x, g, shape, stride, padding, 0, implementation)


def _call(
    name: str,
    first: Array,
    second: Array,
    shape: tuple[int, ...],
    stride: int,
    padding: int,
    padding_value: int,
    implementation: str,
) -> Array:
    load()  # in case that a caller names an implementation
    result = jax.ShapeDtypeStruct(shape, first.dtype)
    call = jax.ffi.ffi_call(f"bnnjax_{name}", result, vmap_method="sequential")
    sizes = {"stride": stride, "padding": padding, "padding_value": padding_value}
    attributes = {name: np.int64(value) for name, value in sizes.items()}
    return call(first, second, implementation=implementation or kernels(), **attributes)
