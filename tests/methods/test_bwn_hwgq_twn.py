"""BWN, HWGQ and TWN against their formulas in NumPy, at kinks and ties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from formulas import KERNEL, UPSTREAM, sign, weight

from bnnjax.methods import Context
from bnnjax.methods.bwn import bwn
from bnnjax.methods.hwgq import half_wave, hwgq
from bnnjax.methods.twn import ternary_identity, ternary_scale, twn

TINY, LOW, HIGH, TOP = np.float32([1e-30, 0.807, 1.345, 1.614])


def beside(x, end):
    return np.nextafter(x, np.float32(end))


# x, code and whether the gradient passes, of HWGQ with 2 bits.
HALF_WAVE = [
    (-np.inf, 0, False),
    (-1.0, 0, False),
    (-TINY, 0, False),
    (-0.0, 0, False),
    (0.0, 0, False),
    (TINY, 1, True),
    (0.25, 1, True),
    (0.538, 1, True),
    (LOW, 1, True),
    (beside(LOW, 9), 2, True),
    (1.076, 2, True),
    (HIGH, 2, True),
    (beside(HIGH, 9), 3, True),
    (TOP, 3, True),
    (beside(TOP, 9), 3, False),
    (np.inf, 3, False),
]
X, CODES, PASSES = (np.array(column, np.float32) for column in zip(*HALF_WAVE, strict=True))


@pytest.mark.parametrize(("make", "wbits", "abits"), [(bwn, 1, 32), (hwgq, 1, 2), (twn, 2, 32)])
def test_default_bits(make, wbits, abits):
    method = make()
    assert (method.name, method.wbits, method.abits) == (make.__name__, wbits, abits)
    with pytest.raises(ValueError, match=f"method {make.__name__} is not defined for 1/1 "):
        make(1, 1)


def test_bwn_differentiates_the_product_of_scale_and_sign():
    value, gradient = weight(bwn())
    scale = np.abs(KERNEL).mean(0)
    np.testing.assert_allclose(value, scale * sign(KERNEL), rtol=1e-6)
    through_sign = scale * (np.abs(KERNEL) < 1) * UPSTREAM
    through_scale = sign(KERNEL) / 7 * (UPSTREAM * sign(KERNEL)).sum(0)
    np.testing.assert_allclose(gradient, through_sign + through_scale, rtol=1e-5, atol=1e-6)


def test_bwn_centres_its_latent_weights():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 2)).astype(np.float32)
    expected = np.clip(kernel - kernel.mean(axis=2, keepdims=True), -1, 1)
    np.testing.assert_allclose(bwn().project_latent(jnp.asarray(kernel)), expected, atol=1e-6)


@pytest.mark.parametrize("abits", [2, 32])
def test_hwgq_scales_each_filter_and_trains_it_through_the_identity(abits):
    value, gradient = weight(hwgq(1, abits))
    np.testing.assert_allclose(value, np.abs(KERNEL).mean(0) * sign(KERNEL), rtol=1e-6)
    np.testing.assert_allclose(gradient, UPSTREAM, rtol=1e-6)


def test_hwgq_takes_the_nearest_positive_centre_and_the_lower_at_a_midpoint():
    (codes, scale, _) = hwgq().quantize_activation(jnp.asarray(X), Context())
    np.testing.assert_array_equal(codes, CODES)
    assert scale == np.float32(0.538)
    # Independently: the nearest centre wherever that is no tie.
    centres = 0.538 * np.arange(1, 4)
    grid = np.linspace(0.01, 3, 1000)
    nearest = centres[np.abs(grid[:, None] - centres).argmin(1)]
    value = hwgq().quantize_activation(jnp.asarray(grid, jnp.float32), Context()).value
    np.testing.assert_allclose(value, nearest, rtol=1e-6)


def test_hwgq_trains_activations_through_the_clipped_relu():
    _, pull = jax.vjp(lambda x: hwgq().quantize_activation(x, Context()).value, jnp.asarray(X))
    np.testing.assert_allclose(pull(jnp.ones_like(X))[0], PASSES, rtol=1e-6)
    relaxed, pull = jax.vjp(half_wave, jnp.asarray(X))
    np.testing.assert_array_equal(relaxed, np.clip(X, 0, TOP))
    np.testing.assert_array_equal(pull(jnp.ones_like(X))[0], PASSES)


def test_hwgq_compares_bfloat16_with_exact_thresholds():
    # The bfloat16 numbers next to each threshold; 0.807 itself rounds to 0.80859375, above it.
    x = jnp.array([0.8046875, 0.80859375, 1.34375, 1.3515625, 1.609375, 1.6171875, jnp.nan], jnp.bfloat16)
    codes, scale, _ = hwgq().quantize_activation(x, Context())
    assert codes.dtype == scale.dtype == jnp.bfloat16
    np.testing.assert_array_equal(codes.astype(jnp.float32), [1, 2, 2, 3, 3, 3, np.nan])
    _, pull = jax.vjp(lambda x: hwgq().quantize_activation(x, Context()).value, x)
    gradient = pull(jnp.ones_like(x))[0].astype(jnp.float32)
    np.testing.assert_allclose(gradient, [1, 1, 1, 1, 1, 0, 0], rtol=0.01)


def test_hwgq_with_full_precision_activations_has_a_relu():
    method = hwgq(1, 32)
    np.testing.assert_array_equal(method.quantize_activation(jnp.asarray(X), Context()).value, X)
    np.testing.assert_array_equal(method.nonlinearity(jnp.asarray(X)), np.maximum(X, 0))
    np.testing.assert_array_equal(hwgq().nonlinearity(jnp.asarray(X)), X)


def test_twn_has_one_threshold_and_one_scale_for_the_layer():
    value, gradient = weight(twn())
    threshold = 0.7 * np.abs(KERNEL).mean()
    above = np.abs(KERNEL) > threshold
    assert 0 < above[:, 0].sum() < 7
    assert above[:, 0].sum() != above[:, 1].sum()
    expected = np.abs(KERNEL[above]).mean() * above * sign(KERNEL)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, UPSTREAM, rtol=1e-6)


def test_twn_by_hand_with_a_weight_on_the_threshold():
    kernel, threshold = jnp.array([[2.0, -0.75, 0.5], [0.75, -4.0, 0.0]]), jnp.float32(0.75)
    np.testing.assert_array_equal(ternary_identity(kernel, threshold), [[1, 0, 0], [0, -1, 0]])
    assert ternary_scale(kernel, threshold) == 3
    # The last column has nothing above the threshold.
    np.testing.assert_array_equal(ternary_scale(kernel, threshold, (0,)), [2, 4, 0.75])
    codes, scale, _ = twn().quantize_weight(jnp.array([[2.0, -0.5], [1.0, -5.0]]), Context())
    np.testing.assert_array_equal(codes, [[1, 0], [0, -1]])  # D = 0.7 x 8.5 / 4 = 1.4875
    assert scale == 3.5


def test_twn_constant_kernel_is_represented_exactly():
    value, gradient = weight(twn(), np.full((7, 2), -0.125, np.float32))
    np.testing.assert_allclose(value, -0.125, rtol=1e-6)
    np.testing.assert_allclose(gradient, UPSTREAM, rtol=1e-6)


@pytest.mark.parametrize("make", [bwn, hwgq, twn])
def test_zero_kernel_has_zero_value_and_finite_gradient(make):
    value, gradient = weight(make(), np.zeros((7, 2), np.float32))
    np.testing.assert_array_equal(value, 0)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("make", [bwn, hwgq, twn])
def test_nan_weight_stays_nan(make):
    kernel = KERNEL.copy()
    kernel[5, 1] = np.nan
    assert np.isnan(weight(make(), kernel)[0][5, 1])
