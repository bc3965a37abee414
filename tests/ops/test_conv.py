"""The convolution and its two gradients, against loops in NumPy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.ops.conv import conv, patches

# stride, padding, padding value
BORDERS = [
    (1, 0, 0.0),
    (1, 1, 0.0),
    (2, 1, 0.0),
    (2, 0, 0.0),
    (1, 1, 1.0),
    (2, 1, 1.0),
    (1, 1, -1.0),
    (2, 1, -1.0),
]


def loop_conv(x, kernel, cotangent, stride, padding, padding_value):
    """Returns y, dL/dx and dL/dkernel for dL/dy = cotangent (float64), pixel by pixel."""
    (batch, h, w, _), (kh, kw, _, out) = x.shape, kernel.shape
    padded = np.full((batch, h + 2 * padding, w + 2 * padding, x.shape[-1]), padding_value, np.float64)
    padded[:, padding : padding + h, padding : padding + w] = x
    rows, columns = ((n + 2 * padding - k) // stride + 1 for n, k in ((h, kh), (w, kw)))
    y = np.zeros((batch, rows, columns, out))
    by_padded, by_kernel = np.zeros_like(padded), np.zeros(kernel.shape)
    for p in range(rows):
        for q in range(columns):
            window = np.s_[:, stride * p : stride * p + kh, stride * q : stride * q + kw]
            y[:, p, q] = np.einsum("bhwi,hwio->bo", padded[window], kernel)
            by_padded[window] += np.einsum("bo,hwio->bhwi", cotangent[:, p, q], kernel)
            by_kernel += np.einsum("bo,bhwi->hwio", cotangent[:, p, q], padded[window])
    return y, by_padded[:, padding : padding + h, padding : padding + w], by_kernel


def value_and_gradients(x, kernel, cotangent, border):
    stride, padding, padding_value = border

    @jax.jit
    def run(x, kernel, cotangent):
        def function(x, kernel):
            return conv(x, kernel, stride=stride, padding=padding, padding_value=padding_value)

        y, pull = jax.vjp(function, x, kernel)
        return y, *pull(cotangent)

    return run(x, kernel, cotangent)


def output_size(n, k, border):
    return (n + 2 * border[1] - k) // border[0] + 1


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("border", BORDERS)
def test_signs_give_the_integers_of_the_loop_exactly(border, dtype):
    rng = np.random.default_rng(0)
    x, kernel = rng.choice([-1.0, 1.0], (2, 6, 5, 3)), rng.choice([-1.0, 1.0], (3, 3, 3, 4))
    g = rng.integers(-2, 3, (2, output_size(6, 3, border), output_size(5, 3, border), 4)).astype(float)
    got = value_and_gradients(*(jnp.asarray(a, dtype) for a in (x, kernel, g)), border)
    chex.assert_type(got, dtype)
    # All sums stay within +-256, where both dtypes hold every integer.
    for actual, expected in zip(got, loop_conv(x, kernel, g, *border), strict=True):
        np.testing.assert_array_equal(actual.astype(jnp.float32), expected)


@pytest.mark.parametrize(("size", "features"), [(1, (3, 4)), (3, (1, 1)), (3, (8, 2)), (5, (2, 3))])
@pytest.mark.parametrize("border", [(1, 1, 0.0), (2, 1, -1.0)])
def test_real_numbers_give_the_loop_to_rounding(size, features, border):
    rng = np.random.default_rng(1)
    border = (border[0], size // 2 * border[1], border[2])
    x, kernel = rng.normal(size=(2, 7, 6, features[0])), rng.normal(size=(size, size, *features))
    g = rng.normal(size=(2, output_size(7, size, border), output_size(6, size, border), features[1]))
    x, kernel, g = (a.astype(np.float32) for a in (x, kernel, g))
    got = value_and_gradients(*(jnp.asarray(a) for a in (x, kernel, g)), border)
    # At most 2 * 7 * 6 * 8 products of size about 1 in a sum.
    for actual, expected in zip(got, loop_conv(x, kernel, g, *border), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (2, 4), (3, 2)])
@pytest.mark.parametrize("border", [border for border in BORDERS if border[1]])
def test_images_smaller_than_the_kernel_give_the_integers_of_the_loop_exactly(border, shape):
    rng = np.random.default_rng(4)
    x, kernel = rng.choice([-1.0, 1.0], (2, *shape, 3)), rng.choice([-1.0, 1.0], (3, 3, 3, 4))
    g = rng.integers(-2, 3, (2, *(output_size(n, 3, border) for n in shape), 4)).astype(float)
    got = value_and_gradients(*(jnp.asarray(a, jnp.float32) for a in (x, kernel, g)), border)
    for actual, expected in zip(got, loop_conv(x, kernel, g, *border), strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("border", [(1, 1, 0.0), (2, 1, 1.0)])
def test_gradients_equal_finite_differences(border):
    rng = np.random.default_rng(2)
    x, kernel = (rng.normal(size=s).astype(np.float32) for s in ((1, 4, 4, 2), (3, 3, 2, 2)))
    g = rng.normal(size=(1, output_size(4, 3, border), output_size(4, 3, border), 2)).astype(np.float32)
    _, by_x, by_kernel = value_and_gradients(jnp.asarray(x), jnp.asarray(kernel), jnp.asarray(g), border)

    def loss(x, kernel):
        y = conv(x, kernel, stride=border[0], padding=border[1], padding_value=border[2])
        return float(np.sum(np.asarray(y, np.float64) * g))

    for array, gradient, call in (
        (x, by_x, lambda moved: loss(jnp.asarray(moved), kernel)),
        (kernel, by_kernel, lambda moved: loss(x, jnp.asarray(moved))),
    ):
        for index in list(np.ndindex(array.shape))[::5]:
            step = np.zeros_like(array)
            step[index] = 1  # the loss is linear in each argument, so that a large step loses nothing
            difference = (call(array + step) - call(array - step)) / 2
            np.testing.assert_allclose(gradient[index], difference, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("dtype", "channels"), [(jnp.float32, 512), (jnp.bfloat16, 28)])
def test_product_of_signs_is_the_same_bits_for_any_order_of_channels(dtype, channels):
    rng = np.random.default_rng(3)
    x, kernel = rng.choice([-1.0, 1.0], (1, 4, 4, channels)), rng.choice([-1.0, 1.0], (3, 3, channels, 4))
    order = rng.permutation(channels)
    y = conv(jnp.asarray(x, dtype), jnp.asarray(kernel, dtype), padding=1)
    shuffled = conv(jnp.asarray(x[..., order], dtype), jnp.asarray(kernel[:, :, order], dtype), padding=1)
    np.testing.assert_array_equal(y.astype(jnp.float32), shuffled.astype(jnp.float32))
    np.testing.assert_array_equal(y.astype(jnp.float32), np.round(y.astype(jnp.float32)))


def test_nan_reaches_the_windows_that_hold_it_and_no_other():
    x = jnp.ones((1, 5, 5, 1)).at[0, 0, 0, 0].set(jnp.nan)
    y = conv(x, jnp.ones((3, 3, 1, 1)), padding=1)[0, :, :, 0]
    nan = np.zeros((5, 5), bool)
    nan[:2, :2] = True
    np.testing.assert_array_equal(np.isnan(y), nan)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("size", [1, 3])
def test_patches_times_the_kernel_are_the_convolution(border, size):
    stride, padding, padding_value = border
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 6, 5, 3)), rng.normal(size=(size, size, 3, 4))
    where = {"stride": stride, "padding": padding, "padding_value": padding_value}
    found = patches(jnp.asarray(x, jnp.float32), size, **where, most=1000)
    expected = loop_conv(x, kernel, np.zeros((2, 6 + 2, 5 + 2, 4)), *border)[0]
    assert found.shape == (expected[..., 0].size, size * size * 3)
    np.testing.assert_allclose(found @ kernel.reshape(-1, 4), expected.reshape(-1, 4), rtol=1e-4, atol=1e-5)


def test_of_many_patches_so_many_are_taken_from_all_over_always_the_same():
    x = jnp.arange(4 * 16 * 16, dtype=jnp.float32).reshape(4, 16, 16, 1)
    found = np.asarray(patches(x, 1, most=200))[:, 0]
    assert len(found) == len(set(found)) == 200
    image, row, column = np.unravel_index(found.astype(int), (4, 16, 16))
    assert [len(set(index)) for index in (image, row, column)] == [4, 16, 16]
    np.testing.assert_array_equal(found, np.asarray(jax.jit(lambda x: patches(x, 1, most=200))(x))[:, 0])
