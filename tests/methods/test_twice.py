"""Quantizers keep their surrogate gradients where the gradient by the input is differentiated once more."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_values import nonlinearity_of, values_of

from bnnjax.methods import METHODS, make_method

RNG = np.random.default_rng(0)
KERNEL, X = (jnp.asarray(RNG.normal(size=shape), jnp.float32) for shape in ((3, 3, 4, 6), (2, 3, 3, 4)))


def gradients(function, x):
    """The gradient of a value, and that of the same value where it comes with its pull-back."""

    def loss(x, with_pull):
        value = jax.vjp(function, x)[0] if with_pull else function(x)
        return jnp.sum(jnp.cos(jnp.arange(value.size)) * value.ravel())

    return [jax.jit(jax.grad(loss), static_argnums=1)(x, with_pull) for with_pull in (False, True)]


@pytest.mark.parametrize(
    ("name", "bits"),
    [*((name, None) for name in METHODS), ("abcnet", 3), ("dorefa", 2), ("dsq", 2), ("lqnet", 2)],
)
def test_a_second_differentiation_sees_the_surrogates(name, bits):
    method = make_method(name, bits, bits)
    values = values_of(method, KERNEL)
    functions = {
        "weight": (lambda kernel: method.quantize_weight(kernel, values).value, KERNEL),
        "activation": (lambda x: method.quantize_activation(x, values).value, X),
        "relaxed": (method.relaxed_activation, X),
        "nonlinearity": (nonlinearity_of(method), X),
    }
    for part, (function, x) in functions.items():
        once, beside = gradients(function, x)
        assert np.any(once), part
        np.testing.assert_allclose(beside, once, rtol=1e-5, atol=1e-6, err_msg=part)
