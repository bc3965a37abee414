"""Arrays of other types than float32: every operation gives what it gives for the same floats, or refuses."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.ops import bits, norms, quantize, retention, scale, sign
from bnnjax.ops.batch_norm import batch_norm, scale_and_shift
from bnnjax.ops.channelwise import channelwise
from bnnjax.ops.conv import conv, patches
from bnnjax.ops.floats import floats
from bnnjax.ops.pool import max_pool
from bnnjax.ops.straight_through import through

IMAGES = np.random.default_rng(0).integers(0, 3, (2, 6, 6, 3))  # whole numbers that every type holds
BITS = IMAGES % 2
VECTOR = np.array([1, 2, 3])
ONE = jnp.ones(3)


def double(x: Any, parameters: Any) -> Any:
    return x * parameters["a"]


OPERATIONS: dict[str, tuple[Callable[[Any], Any], np.ndarray]] = {
    "sign": (sign.sign, IMAGES),
    "sign_identity": (sign.sign_identity, IMAGES),
    "sign_clip": (sign.sign_clip, IMAGES),
    "sign_polynomial": (sign.sign_polynomial, IMAGES),
    "sign_ede": (lambda x: sign.sign_ede(x, jnp.float32(1), jnp.float32(1)), IMAGES),
    "hardtanh": (sign.hardtanh, IMAGES),
    "round_codes": (partial(quantize.round_codes, bits=8), BITS),
    "clip_unit": (quantize.clip_unit, IMAGES),
    "through": (lambda x: through(x, x), IMAGES),
    "mean_abs": (scale.mean_abs, IMAGES),
    "power_of_two": (scale.power_of_two, VECTOR),
    "standardize": (scale.standardize, IMAGES),
    "unscale_gradient": (lambda x: scale.unscale_gradient(x, ONE), IMAGES),
    "channelwise": (lambda x: channelwise(double, x, {"a": ONE / 2}), IMAGES),
    "conv": (lambda x: conv(x, floats(x)[:1, :3, :3].transpose(1, 2, 3, 0) * 40, padding=1), IMAGES),
    "conv, of two": (lambda x: conv(x, x[:, :3, :3].transpose(1, 2, 3, 0), padding_value=1), IMAGES),
    "patches": (lambda x: patches(x, 3, padding=1, padding_value=0.5, most=99), IMAGES),
    "max_pool": (lambda x: max_pool(x, 2, 2, 1), IMAGES),
    "channel_l1": (norms.channel_l1, IMAGES),
    "folded_l1": (lambda x: norms.folded_l1(x, x, x), VECTOR),
    "maximum": (norms.maximum, VECTOR),
    "smooth maximum": (partial(norms.maximum, temperature=0.5), VECTOR),
    "project_gain": (lambda x: norms.project_gain(x, x, x, 1.5), VECTOR),
    "power_iteration": (lambda x: norms.power_iteration(x[0, 0], x[0, 0, 0, :1].repeat(6)), IMAGES + 1),
    "average_to": (lambda x: retention.average_to(x, 4, 3), IMAGES),
    "retention_matrix": (lambda x: retention.retention_matrix(x, x), IMAGES),
    "one_step_norm": (lambda x: retention.one_step_norm(x[0]), IMAGES),
    "largest_singular_value": (lambda x: retention.largest_singular_value(x[0], 3), IMAGES),
    "scale_and_shift": (lambda x: scale_and_shift(x, x, ONE / 2, ONE / 4, sign.hardtanh), IMAGES),
    "batch_norm": (lambda x: batch_norm(x, x, ONE / 2, ONE, sign.hardtanh, 1e-5, None), IMAGES),
    "pack": (lambda x: bits.unpack(bits.pack(x), 3), BITS),
    "keeping_bits": (lambda x: bits.keeping_bits(jnp.matmul)(x, jnp.full((3, 2), 150.0)), BITS),
}
TYPES = {"int32": np.int32, "uint8": np.uint8, "bool": bool, "float16": np.float16, "float64": np.float64}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_on_any_type_are_those_on_floats(name: str) -> None:
    operation, values = jax.jit(OPERATIONS[name][0]), OPERATIONS[name][1]
    for kind, dtype in TYPES.items():
        given = values.astype(dtype)
        expected = operation(given.astype(np.float32))
        found = operation(given)
        rough = 2e-2 if kind == "float16" else 1e-6
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert jnp.issubdtype(one.dtype, jnp.floating), kind
            np.testing.assert_allclose(np.asarray(one, np.float32), other, rough, rough, err_msg=kind)


def test_lists_are_arrays_and_complex_numbers_are_refused() -> None:
    np.testing.assert_array_equal(sign.sign([[1, -2], [3, 0]]), [[1, -1], [1, 1]])
    np.testing.assert_array_equal(sign.hardtanh([-2, 0.5]), [-1, 0.5])
    with pytest.raises(
        ValueError, match="must be of floats, or of integers, which become float32; got complex64"
    ):
        sign.sign(jnp.ones(2, complex))
