"""Binary convolution in C: each implementation gives the sums of NumPy, and what is no code gives NaN."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.native.library import convolve, kernels
from bnnjax.ops.conv import conv

# images, rows, columns, inputs, kernel's rows, its columns, outputs, stride, padding, what it holds
CASES = [
    (2, 6, 5, 3, 3, 3, 4, 1, 1, 0),  # channels that fill no nibble
    (130, 4, 4, 16, 3, 3, 16, 1, 1, 0),  # many images in a line
    (1, 33, 70, 17, 3, 3, 9, 1, 1, 1),
    (3, 9, 8, 8, 3, 3, 5, 2, 1, -1),
    (2, 2, 27, 40, 2, 2, 33, 3, 3, -1),  # rows of the output in the padding alone
    (1, 7, 9, 6, 5, 1, 8, 2, 2, 1),
    (1, 3, 3, 512, 3, 3, 64, 1, 1, 0),  # sums that bytes do not hold
    (4, 1, 1, 64, 1, 1, 10, 1, 0, 0),
    (0, 5, 5, 4, 3, 3, 4, 1, 1, 0),
]


def codes(rng, *shape):
    return rng.choice(np.float32([-1, 1]), shape)


def expected(x, kernel, stride, padding, value):
    border = (padding, padding)
    x = np.pad(x, ((0, 0), border, border, (0, 0)), constant_values=value)
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], (1, 2))[:, ::stride, ::stride]
    return np.einsum("bpqihw,hwio->bpqo", windows, kernel)


@pytest.mark.parametrize("case", CASES)
def test_each_implementation_gives_the_sums_of_numpy(implementation, case):
    images, rows, columns, inputs, height, width, outputs, *where = case
    rng = np.random.default_rng(0)
    x, kernel = codes(rng, images, rows, columns, inputs), codes(rng, height, width, inputs, outputs)
    y = convolve(jnp.asarray(x), jnp.asarray(kernel), *where, implementation=implementation)
    np.testing.assert_array_equal(y, expected(x, kernel, *where))


@pytest.mark.parametrize("where", ["x", "kernel"])
@pytest.mark.parametrize("value", [0.0, 0.5, np.nan, np.inf, -2.0])
def test_what_is_no_code_gives_nan(implementation, where, value):
    rng = np.random.default_rng(1)
    arrays = {"x": codes(rng, 3, 5, 5, 18), "kernel": codes(rng, 3, 3, 18, 4)}
    arrays[where].flat[-1] = value
    y = convolve(*arrays.values(), 1, 1, implementation=implementation)
    assert np.isnan(y).all()


def test_the_fastest_implementation_of_the_cpu_is_taken(monkeypatch):
    monkeypatch.delenv("BNNJAX_KERNELS", raising=False)
    flags = set(Path("/proc/cpuinfo").read_text().split())
    best = {"asimd": "neon", "avx512bw": "avx512bw", "avx2": "avx2"}
    assert kernels() == next((name for flag, name in best.items() if flag in flags), "scalar")


def test_an_implementation_that_is_not_there_is_an_error():
    x = jnp.ones((1, 1, 1, 1))
    for name in ("sse9", "a name that is longer than any"):
        with pytest.raises(jax.errors.JaxRuntimeError, match="this CPU lacks the instructions"):
            convolve(x, x, 1, 0, implementation=name).block_until_ready()


def test_it_runs_under_jit_and_vmap():
    rng = np.random.default_rng(2)
    x, kernel = codes(rng, 2, 3, 6, 6, 4), codes(rng, 3, 3, 4, 5)
    y = jax.jit(jax.vmap(lambda x: conv(x, kernel, padding=1, signs=True)))(x)
    np.testing.assert_array_equal(y, [expected(images, kernel, 1, 1, 0) for images in x])


def test_sums_beyond_16_bits_and_other_dtypes_are_left_to_xla():
    rng = np.random.default_rng(4)
    x, kernel = codes(rng, 1, 1, 1, 40_000), codes(rng, 1, 1, 40_000, 2)
    y = conv(jnp.asarray(x), jnp.asarray(kernel), signs=True)
    np.testing.assert_array_equal(y[0, 0], x[0, 0] @ kernel[0, 0])
    x, kernel = (jnp.ones(shape, jnp.bfloat16) for shape in ((1, 4, 4, 2), (3, 3, 2, 1)))
    assert conv(x, kernel, signs=True).dtype == jnp.bfloat16
