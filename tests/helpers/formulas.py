"""A kernel at kinks and ties, and its quantization by a method, for tests of formulas in NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from method_values import context_of

from bnnjax.methods import Method

BELOW, ABOVE = 1 - 2.0**-24, 1 + 2.0**-23
# [7, 2]: kinks, ties and both zeros; a filter is a column.
KERNEL = np.array(
    [[0.0, -0.0], [1.0, 0.25], [-1.0, -3.0], [ABOVE, 0.75], [-BELOW, -1.0], [0.5, -0.5], [-2.5, 0.125]],
    np.float32,
)
UPSTREAM = np.array([[1.0, -2], [2, 0.5], [-1, 3], [0.25, 1], [4, -1], [-3, 2], [0.5, 0.75]], np.float32)


def sign(x: Any) -> Any:
    return np.where(x >= 0, 1.0, -1.0)


def weight(
    method: Method, kernel: Any = KERNEL, upstream: Any = UPSTREAM, progress: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns What and dL/dW for dL/dWhat = upstream."""
    context = context_of(method, kernel, progress)
    value, pull = jax.vjp(lambda k: method.quantize_weight(k, context).value, jnp.asarray(kernel))
    return np.asarray(value), np.asarray(pull(jnp.asarray(upstream))[0])
