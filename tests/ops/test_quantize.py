"""The k-bit quantizer on [0, 1]: levels, ties, straight-through gradient, and the clip before it."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnjax.ops.quantize import clip_unit, levels, round_codes

NAN, INF = np.nan, np.inf
ALL_BITS = range(1, 9)


def value_and_slope(function, x):
    @jax.jit
    def both(x):
        y, pull = jax.vjp(function, x)
        return y, pull(jnp.ones_like(y))[0]

    return both(x)


def test_levels_are_two_to_the_k_minus_one():
    assert [levels(bits) for bits in ALL_BITS] == [1, 3, 7, 15, 31, 63, 127, 255]


@pytest.mark.parametrize("bits", [-1, 0, 9, 32])
def test_bits_outside_one_to_eight_are_refused(bits):
    with pytest.raises(ValueError, match=f"1 to 8 bits; got {bits}"):
        levels(bits)
    with pytest.raises(ValueError, match="1 to 8 bits"):
        round_codes(jnp.zeros(2), bits)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("bits", ALL_BITS)
def test_unit_interval_gives_every_code_once_and_in_order(bits, dtype):
    highest = 2**bits - 1
    # bfloat16 has 8 bits of significand, so it can still tell the centres of 256 cells apart.
    centres = jnp.asarray(np.arange(highest + 1) / highest, dtype)
    codes = round_codes(centres, bits)
    chex.assert_type(codes, dtype)
    np.testing.assert_array_equal(codes.astype(jnp.float32), np.arange(highest + 1))


@pytest.mark.parametrize("bits", ALL_BITS)
def test_ties_go_to_the_even_code(bits):
    highest = 2**bits - 1
    # (c + 1/2) / n is a tie where float32 brings it back exactly.
    low = np.arange(highest, dtype=np.float64)
    x = ((low + 0.5) / highest).astype(np.float32)
    exact = x * np.float32(highest) == low + 0.5
    expected = np.where(low % 2 == 0, low, low + 1)
    assert exact.any()
    np.testing.assert_array_equal(np.asarray(round_codes(jnp.asarray(x), bits))[exact], expected[exact])


def test_ties_of_the_two_bit_quantizer_written_out():
    x = jnp.array([0.0, -0.0, 1 / 6, 0.5, 5 / 6, 1.0, NAN])
    # 3 x = 0, 0, 0.5, 1.5, 2.5, 3
    np.testing.assert_array_equal(round_codes(x, 2), [0, 0, 0, 2, 2, 3, NAN])


@pytest.mark.parametrize("bits", ALL_BITS)
def test_quantized_value_has_derivative_one_everywhere(bits):
    x = jnp.array([-INF, -1, 0, -0.0, 0.5, 0.3, 1, 2, INF, NAN])
    _, slope = value_and_slope(lambda x: round_codes(x, bits), x)
    np.testing.assert_array_equal(slope, np.full(10, 2**bits - 1, np.float32))
    # n times fl(1 / n) may be an ulp off 1.
    _, slope = value_and_slope(lambda x: round_codes(x, bits) / levels(bits), x)
    np.testing.assert_allclose(slope, 1, rtol=2**-22)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.lists(st.floats(0, 1, width=32), min_size=16, max_size=16), st.sampled_from(list(ALL_BITS)))
def test_quantized_value_is_nearest_level(values, bits):
    x = np.array(values, np.float32)
    grid = np.arange(2**bits) / (2**bits - 1)
    nearest = np.abs(x[:, None].astype(np.float64) - grid).min(axis=1)
    quantized = np.asarray(round_codes(jnp.asarray(x), bits), np.float64) / (2**bits - 1)
    assert np.abs(quantized - x).max() <= 0.5 / (2**bits - 1) + 1e-7
    # x n rounds once in float32, so that a near tie may fall to either side.
    np.testing.assert_allclose(np.abs(quantized - x), nearest, atol=2.0**-23)


BELOW, ABOVE, TINY = 1 - 2.0**-24, 1 + 2.0**-23, 1e-30
CLIP_TABLE = [
    # x, clip, derivative
    (-INF, 0, 0),
    (-1.0, 0, 0),
    (-TINY, 0, 0),
    (-0.0, 0, 1),
    (0.0, 0, 1),
    (TINY, TINY, 1),
    (0.5, 0.5, 1),
    (BELOW, BELOW, 1),
    (1.0, 1, 1),
    (ABOVE, 1, 0),
    (INF, 1, 0),
    (NAN, NAN, 0),
]


def test_clip_unit_on_both_sides_of_its_kinks():
    x, value, slope = np.array(CLIP_TABLE, np.float32).T
    y, g = value_and_slope(clip_unit, jnp.asarray(x))
    np.testing.assert_array_equal(y, value)
    np.testing.assert_array_equal(g, slope)


def test_clip_unit_in_bfloat16():
    x = jnp.array([-0.5, -0.0, 0, 0.5, 1, 1 + 2.0**-7, NAN], jnp.bfloat16)
    y, g = value_and_slope(clip_unit, x)
    chex.assert_type([y, g], jnp.bfloat16)
    np.testing.assert_array_equal(y.astype(jnp.float32), [0, 0, 0, 0.5, 1, 1, NAN])
    np.testing.assert_array_equal(g.astype(jnp.float32), [0, 1, 1, 1, 1, 0, 0])
