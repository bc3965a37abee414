"""Bit packing against NumPy's, and products that keep their codes packed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.ops.bits import keeping_bits, pack, unpack
from bnnjax.ops.conv import conv


@pytest.mark.parametrize("channels", [1, 3, 8, 9, 16, 67])
@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 1.0), (-0.25, 1.349)])
def test_words_are_numpy_s_and_come_back(channels, low, high):
    bits = np.random.default_rng(channels).integers(0, 2, (2, 3, channels))
    bits[0, 0, 0], bits[-1, -1, -1] = 0, 1
    x = jnp.where(jnp.asarray(bits) == 1, high, low).astype(jnp.float32)
    packed = pack(x)
    np.testing.assert_array_equal(packed.words, np.packbits(bits, -1, bitorder="little"))
    np.testing.assert_array_equal(unpack(packed, channels), x)


@pytest.mark.parametrize("value", [-1.0, 1.0])
def test_one_value_alone_comes_back(value):
    x = jnp.full((2, 5), value)
    np.testing.assert_array_equal(unpack(pack(x), 5), x)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_gradients_of_a_convolution_are_the_same_bits(dtype):
    keys = jax.random.split(jax.random.key(0), 3)
    codes = jnp.sign(jax.random.normal(keys[0], (2, 6, 6, 12))).astype(dtype)
    kernel = jax.random.normal(keys[1], (3, 3, 12, 4)).astype(dtype)

    def plain(codes, kernel):
        return conv(codes, kernel, padding=1, stride=2)

    y, pull = jax.vjp(plain, codes, kernel)
    packed, pull_packed = jax.vjp(keeping_bits(plain), codes, kernel)
    g = jax.random.normal(keys[2], y.shape).astype(dtype)
    np.testing.assert_array_equal(packed, y)
    for ours, theirs in zip(pull_packed(g), pull(g), strict=True):
        np.testing.assert_array_equal(ours.astype(jnp.float32), theirs.astype(jnp.float32))
    kept = sum(leaf.nbytes for leaf in jax.tree.leaves(pull_packed))
    assert kept == 2 * 6 * 6 * 2 + 2 * codes.dtype.itemsize + kernel.nbytes


def test_a_product_of_matrices_keeps_bits_too():
    codes = jnp.sign(jax.random.normal(jax.random.key(0), (5, 20)))
    kernel = jax.random.normal(jax.random.key(1), (20, 3))
    plain, ours = (
        jax.grad(lambda k, product=product: jnp.sum(product(codes, k) ** 2))(kernel)
        for product in (jnp.matmul, keeping_bits(jnp.matmul))
    )
    np.testing.assert_allclose(ours, plain, rtol=1e-6)
