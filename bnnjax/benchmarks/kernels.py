"""Timing of binary convolutions and their gradients: each implementation that runs here, beside XLA's."""

import platform
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.benchmarks.corruptions import machine
from bnnjax.benchmarks.steps import median_ratio, spread, time_in_turn
from bnnjax.native import library
from bnnjax.native.build import INSTRUCTION_SETS
from bnnjax.ops.conv import conv

# Size of the images and channels: the layers of ResNet-20 on 32x32 images, then of ResNet-18 on 224x224.
LAYERS = ((32, 16), (16, 32), (8, 64), (56, 64), (28, 128), (14, 256), (7, 512))
Passes = dict[str, Callable[[], Any]]


def _ours(name: str, x: Array, kernel: Array, g: Array) -> Passes:
    return {
        "convolution": partial(
            jax.jit(lambda x, k: library.convolve(x, k, 1, 1, implementation=name)), x, kernel
        ),
        "input_gradient": partial(
            jax.jit(lambda g, k: library.input_gradient(g, k, x.shape, 1, 1, implementation=name)), g, kernel
        ),
        "kernel_gradient": partial(
            jax.jit(lambda x, g: library.kernel_gradient(x, g, kernel.shape, 1, 1, implementation=name)), x, g
        ),
    }


def _xlas(x: Array, kernel: Array, g: Array) -> Passes:
    forward = partial(conv, padding=1)
    return {
        "convolution": partial(jax.jit(forward), x, kernel),
        "input_gradient": partial(
            jax.jit(lambda g, k: jax.vjp(lambda x: forward(x, k), x)[1](g)[0]), g, kernel
        ),
        "kernel_gradient": partial(
            jax.jit(lambda x, g: jax.vjp(lambda k: forward(x, k), kernel)[1](g)[0]), x, g
        ),
    }


def implementations() -> list[str]:
    """Returns the names of those that run here, but not the scalar one, which is only what they must equal.

    Raises:
      ValueError: if there are none.
    """
    if library.kernels() == "xla":
        raise ValueError("there are no kernels to time: they need a CPU and a C compiler")
    find = library.load().bnn_find
    return [name for name in INSTRUCTION_SETS.get(platform.machine(), {}) if find(name.encode())]


def time_kernels(names: list[str], batch: int, repeats: int) -> Iterator[dict[str, Any]]:
    """Yields a record per layer, pass and implementation, XLA's first; those of a pass are timed in turn.

    Args:
      names: of implementations.
      batch: images.
      repeats: timed calls of each.
    """
    for size, channels in LAYERS:
        keys = jax.random.split(jax.random.key(0), 3)
        x = jax.random.rademacher(keys[0], (batch, size, size, channels), jnp.float32)
        kernel = jax.random.rademacher(keys[1], (3, 3, channels, channels), jnp.float32)
        g = jax.random.normal(keys[2], x.shape)
        passes = {"xla": _xlas(x, kernel, g)} | {name: _ours(name, x, kernel, g) for name in names}
        products = batch * size**2 * 9 * channels**2
        for step in passes["xla"]:
            calls = [partial(_finish, of_one[step]) for of_one in passes.values()]
            times = time_in_turn(calls, repeats)
            for name, own in zip(passes, times, strict=True):
                yield {
                    "pass": step,
                    "size": size,
                    "channels": channels,
                    "batch": batch,
                    "implementation": name,
                    "repeats": repeats,
                    **machine(),
                    "ms": spread(own),
                    "gmacs_per_second": round(products / statistics.median(own) / 1e9, 1),
                    "ratio_to_xla": round(median_ratio(own, times[0]), 3),
                }


def _finish(call: Callable[[], Any]) -> None:
    jax.block_until_ready(call())
