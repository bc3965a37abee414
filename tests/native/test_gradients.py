"""Gradients of binary convolutions in C: those of float64, the same bits by each implementation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.native import library
from bnnjax.native.library import convolve, input_gradient, kernel_gradient
from bnnjax.ops.conv import conv
from bnnjax.ops.sign import sign_clip

# images, rows, columns, inputs, kernel's rows, its columns, outputs, stride, padding
CASES = [
    (2, 6, 5, 3, 3, 3, 4, 1, 1),
    (40, 4, 4, 16, 3, 3, 16, 1, 1),  # many images at a time, and parts of the batch
    (1, 33, 70, 17, 3, 3, 9, 1, 1),
    (3, 9, 8, 33, 3, 3, 40, 2, 1),  # blocks that are not full; rows that no output meets
    (2, 2, 27, 40, 2, 2, 33, 3, 3),  # outputs in the padding alone
    (1, 7, 9, 6, 5, 1, 8, 2, 2),
    (2, 8, 8, 5, 1, 1, 7, 2, 0),
    (0, 5, 5, 4, 3, 3, 4, 1, 1),
]


def codes(rng, *shape):
    return rng.choice(np.float32([-1, 1]), shape)


def gradients_of(x, kernel, g, stride, padding):
    """In float64: each tap's products, pixel by pixel."""
    border = (padding, padding)
    padded = np.pad(x.astype(float), ((0, 0), border, border, (0, 0)))
    by_x, by_kernel = np.zeros_like(padded), np.zeros(kernel.shape)
    rows, columns = g.shape[1:3]
    for h in range(kernel.shape[0]):
        for w in range(kernel.shape[1]):
            last_row, last_column = h + stride * (rows - 1), w + stride * (columns - 1)
            met = np.s_[:, h : last_row + 1 : stride, w : last_column + 1 : stride]
            by_x[met] += g.astype(float) @ kernel[h, w].T
            by_kernel[h, w] = np.einsum("bpqi,bpqo->io", padded[met], g.astype(float))
    return by_x[:, padding : padding + x.shape[1], padding : padding + x.shape[2]], by_kernel


def given(rng, case):
    images, rows, columns, inputs, height, width, outputs, stride, padding = case
    out = [(size + 2 * padding - k) // stride + 1 for size, k in ((rows, height), (columns, width))]
    x, kernel = codes(rng, images, rows, columns, inputs), codes(rng, height, width, inputs, outputs)
    return x, kernel, rng.normal(size=(images, *out, outputs)).astype(np.float32)


def assert_close(ours, theirs):
    assert np.linalg.norm(ours - theirs) <= 1e-6 * np.linalg.norm(theirs)


@pytest.mark.parametrize("case", CASES)
def test_they_are_those_of_float64_with_the_same_bits_by_each_implementation(implementation, case):
    *where, rng = *case[-2:], np.random.default_rng(0)
    x, kernel, g = given(rng, case)
    real = rng.normal(size=kernel.shape).astype(np.float32)  # the kernel need not be codes for the first
    results = []
    for name in ("scalar", implementation):
        by_x = input_gradient(jnp.asarray(g), jnp.asarray(real), x.shape, *where, implementation=name)
        by_kernel = kernel_gradient(jnp.asarray(x), jnp.asarray(g), kernel.shape, *where, implementation=name)
        results.append((by_x, by_kernel))
    for ours, theirs in zip(results[1], gradients_of(x, real, g, *where), strict=True):
        assert_close(ours, theirs)
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("value", [0.0, 0.5, np.nan, np.inf, -2.0])
def test_what_is_no_code_gives_nan(implementation, value):
    x, kernel, g = given(np.random.default_rng(1), CASES[3])
    x.flat[-1] = value
    assert np.isnan(
        kernel_gradient(jnp.asarray(x), jnp.asarray(g), kernel.shape, 2, 1, implementation=implementation)
    ).all()


def loss_of(signs, x, kernel):
    y = conv(x, kernel, stride=2, padding=1, signs=signs)
    return jnp.sum(jnp.sin(y))


def test_conv_has_them_under_jit_and_vmap():
    rng = np.random.default_rng(2)
    x, kernel = jnp.asarray(codes(rng, 3, 2, 6, 6, 4)), jnp.asarray(codes(rng, 3, 3, 4, 5))

    def gradients(signs):
        one = jax.grad(lambda *arrays: loss_of(signs, *arrays), (0, 1))
        return jax.jit(jax.vmap(one, (0, None)))(x, kernel)

    for ours, theirs in zip(gradients(True), gradients(False), strict=True):
        assert_close(ours, theirs)


@pytest.mark.parametrize("padding_value", [0.0, -1.0])
def test_conv_scales_and_takes_signs_itself(padding_value):
    rng = np.random.default_rng(5)
    reals = (
        jnp.asarray(rng.normal(size=(2, 6, 6, 4)), jnp.float32).at[0, 0, 0, :2].set(jnp.array([0.0, -0.0]))
    )
    arrays = (reals, jnp.asarray(codes(rng, 3, 3, 4, 5)), jnp.asarray(rng.normal(size=5), jnp.float32))

    def loss(reals, kernel, scale, signs, itself):
        x, signs_of = sign_clip(reals), reals if itself else None
        where = {"stride": 2, "padding": 1, "padding_value": padding_value}
        y = conv(x, kernel, scale=scale, signs=signs, signs_of=signs_of, **where)
        return jnp.sum(jnp.sin(y)), y

    results = [
        jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(*arrays, *how)
        for how in ((False, False), (True, False), (True, True))
    ]
    for (_, y), gradients in results[1:]:
        np.testing.assert_array_equal(y, results[0][0][1])
        for ours, theirs in zip(gradients, results[0][1], strict=True):
            assert_close(ours, theirs)
            assert jnp.any(ours)


@pytest.mark.parametrize("where", ["y", "dk"])
def test_the_sign_of_nan_is_nan(implementation, where):
    x, kernel, g = map(jnp.asarray, given(np.random.default_rng(6), CASES[3]))
    x = 3 * x.at[0, 0, 0, 0].set(jnp.inf).at[-1, -1, -1, -1].set(jnp.nan)
    how = {"reals": True, "implementation": implementation}
    if where == "y":
        assert jnp.isnan(convolve(x, kernel, 2, 1, **how)).all()
    else:
        assert jnp.isnan(kernel_gradient(x, g, kernel.shape, 2, 1, **how)).all()


def test_gradients_of_gradients_are_those_of_real_numbers():
    rng = np.random.default_rng(3)
    x, kernel = jnp.asarray(codes(rng, 2, 6, 6, 4)), jnp.asarray(codes(rng, 3, 3, 4, 5))

    def second(signs):
        def length(x, kernel):
            by_x, by_kernel = jax.grad(lambda *arrays: loss_of(signs, *arrays), (0, 1))(x, kernel)
            return jnp.sum(by_x**3) + jnp.sum(by_kernel**3)

        return jax.grad(length, (0, 1))(x, kernel)

    for ours, theirs in zip(second(True), second(False), strict=True):
        assert_close(ours, theirs)


def test_kernels_of_many_taps_and_other_dtypes_are_left_to_xla(monkeypatch):
    monkeypatch.setattr(library, "MOST_TAPS", 8)
    rng = np.random.default_rng(4)
    x, kernel = jnp.asarray(codes(rng, 1, 3, 3, 1)), jnp.asarray(codes(rng, 3, 3, 1, 1))
    np.testing.assert_array_equal(jax.grad(lambda k: conv(x, k, signs=True).sum())(kernel), x[0, ..., None])
    half = kernel.astype(jnp.bfloat16)
    assert jax.grad(lambda k: conv(half[None, ..., 0], k, signs=True).sum())(half).dtype == jnp.bfloat16
