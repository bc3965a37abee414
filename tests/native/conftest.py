"""The implementations that a test of the library in C is for, one after the other."""

import platform

import jax
import jax.numpy as jnp
import pytest

from bnnjax.native.build import INSTRUCTION_SETS
from bnnjax.native.library import convolve, load

NAMES = ["scalar", *INSTRUCTION_SETS.get(platform.machine(), ())]


@pytest.fixture(params=NAMES)
def implementation(request):
    """An implementation; those that the CPU lacks say so, and none runs in their place."""
    if load().bnn_find(request.param.encode()) is None:
        x = jnp.ones((1, 1, 1, 1))
        with pytest.raises(jax.errors.JaxRuntimeError, match="this CPU lacks the instructions"):
            convolve(x, x, 1, 0, implementation=request.param).block_until_ready()
        pytest.skip(f"this CPU has no {request.param}")
    return request.param
