"""Quantizers of integers give what they give for the same floats."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_values import context_of

from bnnjax.methods import METHODS, make_method

WHOLE = np.random.default_rng(0).integers(0, 3, (3, 3, 5, 5))  # as many channels in as out
DEFINED = [*((name, None, None) for name in METHODS), ("dorefa", 2, 2), ("dsq", 2, 2), ("lqnet", 2, 2)]


@pytest.mark.parametrize(("name", "wbits", "abits"), DEFINED)
def test_codes_and_scales_of_integers_are_floats(name, wbits, abits):
    method = make_method(name, wbits, abits)
    context = context_of(method, np.ones(WHOLE.shape, np.float32), training=False)
    for quantize in (method.quantize_weight, method.quantize_activation):
        for dtype in (np.uint8, np.int32, bool):
            found, expected = (
                jax.eval_shape(lambda x, q=quantize: q(x, context), WHOLE.astype(each))
                for each in (dtype, np.float32)
            )
            assert found == expected


@pytest.mark.parametrize("name", ["dorefa", "hwgq", "dsq", "fp"])
def test_values_of_integers_are_those_of_floats(name):
    method = make_method(name, *((2, 2) if name in ("dorefa", "dsq") else (None, None)))
    context = context_of(method, np.ones(WHOLE.shape, np.float32), training=False)
    for quantize in (method.quantize_weight, method.quantize_activation):
        both = [quantize(jnp.asarray(WHOLE, each), context).value for each in (jnp.uint8, jnp.float32)]
        np.testing.assert_array_equal(*both)
