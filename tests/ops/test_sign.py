"""The sign and its surrogate gradients, against tables and against an independent construction."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.lax import stop_gradient

from bnnjax.ops.sign import hardtanh, sign, sign_clip, sign_ede, sign_identity, sign_polynomial

NAN, INF = np.nan, np.inf
BELOW, ABOVE = 1 - 2.0**-24, 1 + 2.0**-23  # float32 neighbours of 1
TINY = 1e-30

# fmt: off
#             x                               sign   identity  clip  open  polynomial       hardtanh
TABLE = [
    (-INF,                                    -1,    1,        0,    0,    0,               -1),
    (-2.0,                                    -1,    1,        0,    0,    0,               -1),
    (-ABOVE,                                  -1,    1,        0,    0,    0,               -1),
    (-1.0,                                    -1,    1,        1,    0,    0,               -1),
    (-BELOW,                                  -1,    1,        1,    1,    2.0**-23,        -BELOW),
    (-0.5,                                    -1,    1,        1,    1,    1,               -0.5),
    (-TINY,                                   -1,    1,        1,    1,    2,               -TINY),
    (-0.0,                                    1,     1,        1,    1,    2,               0),
    (0.0,                                     1,     1,        1,    1,    2,               0),
    (TINY,                                    1,     1,        1,    1,    2,               TINY),
    (0.5,                                     1,     1,        1,    1,    1,               0.5),
    (BELOW,                                   1,     1,        1,    1,    2.0**-23,        BELOW),
    (1.0,                                     1,     1,        1,    0,    0,               1),
    (ABOVE,                                   1,     1,        0,    0,    0,               1),
    (2.0,                                     1,     1,        0,    0,    0,               1),
    (INF,                                     1,     1,        0,    0,    0,               1),
    (NAN,                                     NAN,   1,        0,    0,    NAN,             NAN),
]
# fmt: on
X, SIGN, IDENTITY, CLIP, OPEN, POLYNOMIAL, HARDTANH = (
    np.array(column, np.float32) for column in zip(*TABLE, strict=True)
)
# 0.25 = k t at 0; 1 - tanh(1)^2 = 0.41997434 at t x = 1.
EDE_TABLE = [(-INF, 0), (-8, 0.041997434 * 2.5), (-0.0, 0.25), (0, 0.25), (8, 0.041997434 * 2.5), (INF, 0)]

SURROGATES = {
    "identity": (sign_identity, SIGN, IDENTITY),
    "clip": (sign_clip, SIGN, CLIP),
    "clip, open": (lambda x: sign_clip(x, False), SIGN, OPEN),
    "polynomial": (sign_polynomial, SIGN, POLYNOMIAL),
    "hardtanh": (hardtanh, HARDTANH, CLIP),
}


def value_and_slope(function, x, upstream=1.0):
    """Returns the function's values and its backward pass for one upstream gradient, compiled."""

    @jax.jit
    def both(x):
        y, pull = jax.vjp(function, x)
        return y, pull(jnp.full_like(y, upstream))[0]

    return both(x)


@pytest.mark.parametrize("name", SURROGATES)
def test_value_and_derivative_on_both_sides_of_every_kink(name):
    function, value, slope = SURROGATES[name]
    y, g = value_and_slope(function, jnp.asarray(X))
    chex.assert_type([y, g], jnp.float32)
    np.testing.assert_array_equal(y, value)
    np.testing.assert_array_equal(g, slope)


@pytest.mark.parametrize("name", SURROGATES)
def test_upstream_gradient_is_multiplied(name):
    function, _, slope = SURROGATES[name]
    np.testing.assert_array_equal(value_and_slope(function, jnp.asarray(X), -3.0)[1], -3 * slope)


@pytest.mark.parametrize("name", SURROGATES)
def test_bfloat16_keeps_its_dtype_and_its_own_neighbours_of_one(name):
    function, _, _ = SURROGATES[name]
    below, above = 1 - 2.0**-8, 1 + 2.0**-7
    x = jnp.array([-above, -1, -below, -0.5, -0.0, 0, 0.5, below, 1, above, NAN], jnp.bfloat16)
    slope = {
        "identity": [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        "clip": [0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0],
        "clip, open": [0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0],
        "polynomial": [0, 0, 2.0**-7, 1, 2, 2, 1, 2.0**-7, 0, 0, NAN],
        "hardtanh": [0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0],
    }[name]
    value = [-1, -1, -1, -1, 1, 1, 1, 1, 1, 1, NAN]
    if name == "hardtanh":
        value = [-1, -1, -below, -0.5, 0, 0, 0.5, below, 1, 1, NAN]
    y, g = value_and_slope(function, x)
    chex.assert_type([y, g], jnp.bfloat16)
    np.testing.assert_array_equal(y.astype(jnp.float32), np.array(value, np.float32))
    np.testing.assert_array_equal(g.astype(jnp.float32), np.array(slope, np.float32))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_plain_sign_has_derivative_zero_and_keeps_nan(dtype):
    y, g = value_and_slope(sign, jnp.asarray(X, dtype))
    chex.assert_type([y, g], dtype)
    np.testing.assert_array_equal(y.astype(jnp.float32), SIGN)
    np.testing.assert_array_equal(g[:-1].astype(jnp.float32), 0)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_error_decay_estimator_table(dtype):
    k, t = jnp.float32(2), jnp.float32(0.125)
    x, slope = np.array(EDE_TABLE, np.float32).T
    y, g = value_and_slope(lambda x: sign_ede(x, k, t), jnp.asarray(x, dtype))
    chex.assert_type([y, g], dtype)
    np.testing.assert_array_equal(y.astype(jnp.float32), [-1, -1, 1, 1, 1, 1])
    # tanh and bfloat16's 8 bits.
    np.testing.assert_allclose(g.astype(jnp.float32), slope, rtol=1e-6 if dtype == jnp.float32 else 2**-8)
    y, g = value_and_slope(lambda x: sign_ede(x, k, t), jnp.array([NAN], dtype))
    assert jnp.isnan(y).all()
    assert jnp.isnan(g).all()


def test_error_decay_estimator_is_the_identity_early_and_nearly_the_sign_late():
    x = jnp.array([-3.0, -0.3, 0.0, 0.3, 3.0])
    early = value_and_slope(lambda x: sign_ede(x, jnp.float32(1000), jnp.float32(0.001)), x)[1]
    np.testing.assert_allclose(early, 1, rtol=1e-5)  # 1 - (t x)^2 with t x <= 0.003
    late = value_and_slope(lambda x: sign_ede(x, jnp.float32(1), jnp.float32(10)), x)[1]
    np.testing.assert_allclose(late, [0, 10 / np.cosh(3) ** 2, 10, 10 / np.cosh(3) ** 2, 0], rtol=1e-4)


def test_error_decay_estimator_takes_k_and_t_traced_with_derivative_zero():
    traces = []

    @jax.jit
    def slopes(x, k, t):
        traces.append(None)
        return jax.grad(lambda *args: jnp.sum(sign_ede(*args)), (0, 1, 2))(x, k, t)

    x = jnp.array([0.0, 0.5])
    for k, t in ((1000.0, 0.001), (1.0, 1.0), (1.0, 10.0)):
        by_x, by_k, by_t = slopes(x, jnp.float32(k), jnp.float32(t))
        np.testing.assert_allclose(by_x[0], k * t, rtol=1e-6)
        assert (by_k, by_t) == (0, 0)
    assert len(traces) == 1


def straight_through(soft):
    """Returns sign(x) trained through `soft` by the textbook identity, without a custom gradient."""
    return lambda x: soft(x) + stop_gradient(jnp.where(x >= 0, 1.0, -1.0) - soft(x))


def polynomial(x):
    inner = jnp.where(x < 0, 2 * x + x**2, 2 * x - x**2)
    return jnp.where(jnp.abs(x) < 1, inner, stop_gradient(x))


@pytest.mark.parametrize(
    ("surrogate", "soft"),
    [
        (sign_identity, lambda x: x),
        (sign_clip, lambda x: jnp.where(jnp.abs(x) <= 1, x, stop_gradient(x))),
        (lambda x: sign_clip(x, False), lambda x: jnp.where(jnp.abs(x) < 1, x, stop_gradient(x))),
        (sign_polynomial, polynomial),
        (
            lambda x: sign_ede(x, jnp.float32(1.5), jnp.float32(0.7)),
            lambda x: 1.5 * jnp.tanh(0.7 * x),
        ),
    ],
    ids=["identity", "clip", "clip, open", "polynomial", "ede"],
)
def test_equals_the_stop_gradient_construction(surrogate, soft):
    x = jnp.concatenate([jnp.linspace(-2.5, 2.5, 401), jnp.array([-1.0, 1.0, -0.0, 0.0])])
    y, g = value_and_slope(surrogate, x)
    expected_y, expected_g = value_and_slope(straight_through(soft), x)
    # soft + (sign - soft) rounds once; the derivatives are sums of at most three float32 terms.
    np.testing.assert_allclose(y, expected_y, atol=1e-6)
    np.testing.assert_allclose(g, expected_g, atol=1e-6)


@pytest.mark.parametrize(
    ("surrogate", "rise"),
    [
        (sign_clip, 2.0),
        (lambda x: sign_clip(x, False), 2.0),
        (hardtanh, 2.0),
        (sign_polynomial, 2.0),
        (lambda x: sign_ede(x, jnp.float32(1.5), jnp.float32(2.0)), 3.0),
    ],
    ids=["clip", "clip, open", "hardtanh", "polynomial", "ede"],
)
def test_derivative_integrates_to_the_rise_of_its_function(surrogate, rise):
    # Midpoints of 16,000 cells of 2^-10, so that no sample lies on a kink and each cell is exact or O(h^2).
    x = (np.arange(-8000, 8000) + 0.5) / 1024
    slope = value_and_slope(surrogate, jnp.asarray(x, jnp.float32))[1]
    np.testing.assert_allclose(np.asarray(slope, np.float64).sum() / 1024, rise, rtol=1e-5)


def test_hardtanh_has_derivative_one_at_its_ends_where_autodiff_of_clip_gives_half():
    ends = jnp.array([-1.0, 1.0])
    np.testing.assert_array_equal(value_and_slope(lambda x: jnp.clip(x, -1, 1), ends)[1], [0.5, 0.5])
    np.testing.assert_array_equal(value_and_slope(hardtanh, ends)[1], [1, 1])
