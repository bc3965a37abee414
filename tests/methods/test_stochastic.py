"""Stochastic quantization: its quantizers in NumPy, its schedule, and the distribution of drawn filters."""

from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.methods import Context, Training
from bnnjax.methods.stochastic import draw, ratio_schedule, relative_error, sqbwn, sqtwn

METHODS = [sqbwn, sqtwn]
KERNEL = np.random.default_rng(0).normal(0.2, 1, size=(3, 3, 4, 16)).astype(np.float32)
KERNEL[0, 0, 0, :2] = 0.0, -0.0
UPSTREAM = np.random.default_rng(1).normal(size=KERNEL.shape).astype(np.float32)
RATIOS = {0.0: 0.5, 0.2499: 0.5, 0.25: 0.75, 0.4: 0.75, 0.5: 0.875, 0.74: 0.875, 0.75: 1.0, 1.0: 1.0}


def sign(x):
    return np.where(x >= 0, 1.0, -1.0)


def binary(w):
    """Returns codes and scales."""
    return sign(w), np.abs(w).mean((0, 1, 2))


def ternary(w):
    threshold = 0.7 * np.abs(w - w.mean()).mean()
    above = np.abs(w) > threshold
    return above * sign(w), (np.abs(w) * above).sum((0, 1, 2)) / above.sum((0, 1, 2))


ORACLES = {sqbwn: binary, sqtwn: ternary}


def context_at(progress, key=None):
    """Returns the context of a step with this key; without one, of inference."""
    training = None if key is None else Training(key, jnp.bool_(False))
    return Context(ratio_schedule(jnp.float32(progress)), training=training)


def run(make, kernel, context):
    """Returns codes, scales, What and dL/dW for dL/dWhat = UPSTREAM."""
    method = make()
    result, pull = jax.vjp(lambda k: method.quantize_weight(k, context), jnp.asarray(kernel))
    upstream = jax.vjp(lambda r: r.value, result)[1](jnp.asarray(UPSTREAM[..., : kernel.shape[-1]]))[0]
    return tuple(np.asarray(x) for x in (*result[:2], result.value, pull(upstream)[0]))


@pytest.mark.parametrize("make", METHODS)
def test_inference_quantizes_every_filter(make):
    codes, scale, value, gradient = run(make, KERNEL, context_at(1))
    expected_codes, expected_scale = ORACLES[make](KERNEL.astype(np.float64))
    np.testing.assert_array_equal(codes, expected_codes)
    np.testing.assert_allclose(scale, expected_scale, rtol=1e-5)
    np.testing.assert_allclose(value, expected_codes * expected_scale, rtol=1e-5)
    np.testing.assert_allclose(gradient, UPSTREAM, rtol=1e-6)
    # Whatever the ratio, as long as there is no key.
    np.testing.assert_array_equal(run(make, KERNEL, context_at(0))[2], value)


@pytest.mark.parametrize("progress", RATIOS)
def test_ratio_of_each_quarter(progress):
    assert ratio_schedule(jnp.float32(progress))["ratio"] == RATIOS[progress]


@pytest.mark.parametrize("epochs", [4, 100, 164, 244])
def test_quarters_are_of_equal_length(epochs):
    # A quarter of 164 or 244 epochs is rounded to just below.
    ratios = [
        float(ratio_schedule(jnp.float32(epoch) * (jnp.float32(1) / jnp.float32(epochs)))["ratio"])
        for epoch in range(epochs)
    ]
    np.testing.assert_array_equal(ratios, np.repeat([0.5, 0.75, 0.875, 1], epochs // 4))


@pytest.mark.parametrize("make", METHODS)
@pytest.mark.parametrize(
    ("progress", "filters", "kept"),
    [(0.0, 16, 8), (0.25, 16, 4), (0.5, 16, 2), (0.75, 16, 0), (0.0, 7, 3), (0.25, 7, 1), (0.5, 7, 0)],
)
def test_number_of_filters_kept_in_each_quarter_and_both_groups(make, progress, filters, kept):
    kernel = KERNEL[..., :filters]
    codes, scale, value, gradient = run(make, kernel, context_at(progress, jax.random.key(3)))
    real = (codes == kernel).all((0, 1, 2))
    assert real.sum() == kept
    np.testing.assert_array_equal(scale[real], 1)
    np.testing.assert_array_equal(value[..., real], kernel[..., real])
    expected_codes, expected_scale = ORACLES[make](kernel.astype(np.float64))
    np.testing.assert_array_equal(codes[..., ~real], expected_codes[..., ~real])
    np.testing.assert_allclose(scale[~real], expected_scale[~real], rtol=1e-5)
    np.testing.assert_allclose(gradient, UPSTREAM[..., :filters], rtol=1e-6)


def test_relative_error_by_hand():
    kernel = jnp.array([[1.0, 0.0, 2.0], [3.0, 0.0, -2.0]])
    quantized = jnp.array([[2.0, 0.0, 2.0], [2.0, 0.0, -2.0]])
    np.testing.assert_array_equal(relative_error(kernel, quantized), [0.5, 0, 0])


def frequencies(error, count, keys=20_000):
    drawn = jax.vmap(lambda key: draw(key, jnp.asarray(error), jnp.float32(count)))(
        jax.random.split(jax.random.key(0), keys)
    )
    assert (np.asarray(drawn).sum(1) == count).all()
    return np.asarray(drawn).mean(0)


@pytest.mark.parametrize("count", [1, 2])
def test_roulette_draws_in_proportion_to_the_error_without_replacement(count):
    error = np.array([0.1, 0.3, 0.6], np.float32)
    expected = np.zeros(3)
    for order in permutations(range(3), count):
        left, chance = error.sum(), 1.0
        for n in order:
            chance *= error[n] / left
            left -= error[n]
        expected[list(order)] += chance
    # Six standard deviations of a frequency are at most 0.022.
    np.testing.assert_allclose(frequencies(error, count), expected, atol=0.022)


def test_filters_of_a_layer_are_drawn_by_their_relative_error():
    # e = 0.5, 0.25 and 0 (BWN: a = 1 each), of which floor(0.5 x 3) = 1 is kept.
    kernel = jnp.array([[1.5, 1.25, 1.0], [0.5, -0.75, -1.0]])
    method = sqbwn()

    def kept(key):
        return (method.quantize_weight(kernel, context_at(0, key)).codes == kernel).all(0)

    drawn = np.asarray(jax.vmap(kept)(jax.random.split(jax.random.key(1), 20_000)))
    # The third filter's codes are the filter itself, kept or not.
    np.testing.assert_allclose(drawn.mean(0), [2 / 3, 1 / 3, 1], atol=0.022)


def test_filters_without_error_are_quantized_first():
    np.testing.assert_array_equal(frequencies(np.float32([0.5, 0, 1e-6, 0, np.nan]), 2, 100), [1, 0, 1, 0, 0])


@pytest.mark.parametrize("make", METHODS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fill", [0.0, -0.0, 0.1])
@pytest.mark.parametrize("filters", [[2], list(range(16))])
def test_zero_and_constant_filters_give_no_nan(make, training, fill, filters):
    kernel = KERNEL.copy()
    kernel[..., filters] = fill
    context = context_at(0, jax.random.key(0) if training else None)
    codes, scale, value, gradient = run(make, kernel, context)
    for array in (codes, scale, gradient):
        assert np.isfinite(array).all()
    assert (scale >= 0).all()
    if fill == 0 or make is sqbwn:
        np.testing.assert_allclose(value[..., filters], fill, rtol=1e-5)
    if fill == 0 and training and filters == [2]:
        assert scale[2] != 1  # quantized


@pytest.mark.parametrize("training", [True, False])
def test_ternary_filter_below_the_threshold_still_trains(training):
    kernel = KERNEL.copy()
    kernel[..., 5] = 1e-3
    context = context_at(1, jax.random.key(0) if training else None)
    _, _, value, gradient = run(sqtwn, kernel, context)
    np.testing.assert_array_equal(value[..., 5], 0)
    np.testing.assert_allclose(gradient, UPSTREAM, rtol=1e-6)


@pytest.mark.parametrize("make", METHODS)
@pytest.mark.parametrize("seed", range(3))
def test_nan_weight_stays_nan(make, seed):
    kernel = KERNEL.copy()
    kernel[0, 1, 0, 3] = np.nan
    assert np.isnan(run(make, kernel, context_at(0, jax.random.key(seed)))[2][0, 1, 0, 3])


def test_another_key_draws_other_filters():
    scales = [run(sqbwn, KERNEL, context_at(0, jax.random.key(n)))[1] for n in (0, 0, 1)]
    np.testing.assert_array_equal(scales[0], scales[1])
    assert (scales[0] != scales[2]).any()


@pytest.mark.parametrize(("make", "wbits"), [(sqbwn, 1), (sqtwn, 2)])
def test_bits_and_nonlinearity(make, wbits):
    method = make()
    assert (method.name, method.wbits, method.abits) == (make.__name__, wbits, 32)
    np.testing.assert_array_equal(method.nonlinearity(jnp.array([-1.0, 2.0])), [0, 2])
    with pytest.raises(
        ValueError, match=f"method {make.__name__} is not defined for 1/1 .* it is for {wbits}/32$"
    ):
        make(1, 1)
