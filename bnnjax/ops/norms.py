"""Norms of a unit, a convolution (or dense layer) and the batch norm that follows it.

L1,inf here is the *maximum over output channels of the L1 norm* of a filter: the operator norm of the layer
from the max norm to the max norm.  Some of the literature uses the same name for a sum of maxima.
"""

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.ops.floats import floats


def channel_l1(kernel: Array) -> Array:
    """Returns ||w_o||_1 = sum_{h,w,i} |w[h,w,i,o]| of each filter.

    Args:
      kernel: [..., o].

    Returns:
      [o].  Where w = 0 the derivative is +1, as sign(0) is.
    """
    kernel = floats(kernel)
    return jnp.sum(jnp.abs(kernel), axis=tuple(range(kernel.ndim - 1)))


def channel_squares(kernel: Array) -> Array:
    """Returns ||w_o||_2^2 = sum_{h,w,i} w[h,w,i,o]^2 of each filter, [o].

    Args:
      kernel: [..., o].
    """
    kernel = floats(kernel)
    return jnp.sum(kernel**2, axis=tuple(range(kernel.ndim - 1)))


def folded_l1(l1: Array, gain: Array, variance: Array) -> Array:
    """Returns |g_o| / sqrt(v_o) * ||w_o||_1, the L1 norm of each filter with the batch norm folded in.

    Args:
      l1: [o], from `channel_l1` of the kernel that the forward pass uses.
      gain: [o], the batch norm's gain g.
      variance: [o], the batch norm's variance with its epsilon already added.
    """
    return jnp.abs(floats(gain)) * jax.lax.rsqrt(floats(variance)) * floats(l1)


def maximum(norms: Array, temperature: float = 0.0) -> Array:
    """Returns max_o norms_o, or its smooth upper bound T log sum_o exp(norms_o / T) for T > 0.

    `maximum(folded_l1(...))` is the L1,inf norm of a unit: its exact inf->inf operator norm at inference,
    which zero padding and stride can only lower.  That the L1,inf constraint on binary weights and scaling
    factors means this norm is our reading (Zheng et al., ICML 2025; the formula could not be read).

    Args:
      norms: [o].  At a tie the exact maximum shares its gradient equally.
      temperature: T, in the units of the norm.

    Raises:
      ValueError: if temperature is negative.
    """
    if temperature < 0:
        raise ValueError(f"temperature must be 0 (exact) or positive (smooth); got {temperature}")
    norms = floats(norms)
    if temperature == 0:
        return jnp.max(norms)
    return temperature * jax.nn.logsumexp(norms / temperature)


def project_gain(gain: Array, l1: Array, variance: Array, radius: Array | float) -> Array:
    """Returns the nearest gain (Euclidean) whose unit has an L1,inf norm of at most radius.

    The set {g : |g_o| <= radius sqrt(v_o) / ||w_o||_1} is a box, so the projection clips each gain on its
    own.  The gain of a filter of zeros is not limited.

    Args:
      gain: [o].
      l1: [o], from `channel_l1`.
      variance: [o], with its epsilon already added.
      radius: [], not negative.
    """
    gain, l1, variance = floats(gain), floats(l1), floats(variance)
    limit = jnp.where(l1 > 0, radius * jnp.sqrt(variance) / jnp.where(l1 > 0, l1, 1), jnp.inf)
    return jnp.clip(gain, -limit, limit)


def power_iteration(matrix: Array, vector: Array, iterations: int = 1) -> tuple[Array, Array]:
    """Estimates the spectral norm s = max ||M x||_2 / ||x||_2 from below.

    v <- M^T u / ||.||, u <- M v / ||.||, then s = u^T M v with u and v constant, so that the gradient is
    u v^T (Miyato et al. 2018, arXiv 1802.05957).  A zero matrix gives 0, not NaN, and keeps the vector.

    Args:
      matrix: [o, n].
      vector: [o], the estimate of the left singular vector to start from; keep what is returned for the
        next call.
      iterations: at least 1.

    Returns:
      s [] and the new left vector [o].

    Raises:
      ValueError: if iterations is below 1.
    """
    if iterations < 1:
        raise ValueError(f"power iteration needs at least 1 iteration; got {iterations}")
    matrix, vector = floats(matrix), floats(vector)
    tiny = jnp.finfo(matrix.dtype).tiny

    def normalize(x: Array) -> Array:
        # Divided by its largest entry first: squares of small numbers underflow.
        x = x / jnp.maximum(jnp.max(jnp.abs(x)), tiny)
        return x / jnp.maximum(jnp.linalg.norm(x), tiny)

    constant = jax.lax.stop_gradient(matrix)
    left = normalize(vector)
    for _ in range(iterations):
        right = normalize(constant.T @ left)
        new = normalize(constant @ right)
        left = jnp.where(jnp.any(new != 0), new, left)  # a zero vector would stay zero in all later calls
    return left @ matrix @ right, left
