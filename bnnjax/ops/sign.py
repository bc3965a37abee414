"""The sign function with the surrogate gradients that networks are trained with.

One rule everywhere: sign(0) = sign(-0.0) = +1, and NaN stays NaN.  Every function here has the same forward
value, `sign`; they differ in the derivative that the backward pass uses instead of the true one (zero).

The forward rule of each calls the function itself, as do all custom gradients of the package: where a
gradient is differentiated again (by the input, then by parameters), the second pass then sees the surrogate
too, and not the zero that it replaces.
"""

from collections.abc import Callable
from functools import partial, wraps

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.ops.floats import floats
from bnnjax.ops.straight_through import through


def sign(x: Array) -> Array:
    """Returns +1 where x >= 0 (so at -0.0 too), -1 where x < 0 and NaN where x is NaN.

    Args:
      x: [...], any float dtype.

    Returns:
      [...], the dtype of x.  Its derivative is zero; the functions below have surrogate gradients.
    """
    x = floats(x)
    one = jnp.ones((), x.dtype)
    return jnp.where(x >= 0, one, jnp.where(x < 0, -one, x))


def sign_identity(x: Array) -> Array:
    """sign(x), trained through the identity: dy/dx := 1 everywhere.

    The straight-through estimator without a clip, as DoReFa-Net and BNN use it for weights
    (Zhou et al. 2016, arXiv 1606.06160; Courbariaux et al. 2016, arXiv 1602.02830).

    Args:
      x: [...], any float dtype.
    """
    x = floats(x)
    return through(sign(jax.lax.stop_gradient(x)), x)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def sign_clip(x: Array, closed: bool = True) -> Array:
    """sign(x), trained through the clip to [-1, 1]: dy/dx := 1[|x| <= 1], and 0 where x is NaN.

    The straight-through estimator of BNN (Courbariaux et al. 2016, arXiv 1602.02830).  `hardtanh` is the
    function it is the derivative of.

    Args:
      x: [...], any float dtype.
      closed: whether the interval includes its ends.  The official XNOR-Net code uses the open interval.
    """
    return sign(x)


def _sign_clip_bwd(closed: bool, x: Array, g: Array) -> tuple[Array]:
    inside = jnp.abs(x) <= 1 if closed else jnp.abs(x) < 1
    return (jnp.where(inside, g, jnp.zeros_like(g)),)


sign_clip.defvjp(lambda x, closed: (sign_clip(x, closed), x), _sign_clip_bwd)


def surrogate(slope: Callable[..., Array]) -> Callable[..., Array]:
    """Returns the function y(x, *parameters) = sign(x), with dy/dx := slope(x, *parameters).

    The slope is computed in float32 whatever the dtype of x.  Parameters are traced arrays, so that a
    schedule does not recompile; derivatives by them are zero.
    """

    @jax.custom_vjp
    @wraps(slope)
    def signed(x: Array, *parameters: Array) -> Array:
        return sign(x)

    def backward(residuals: tuple[Array, ...], g: Array) -> tuple[Array, ...]:
        x, *parameters = residuals
        by_x = (g * slope(x.astype(jnp.float32), *parameters)).astype(x.dtype)
        return by_x, *map(jnp.zeros_like, parameters)

    signed.defvjp(lambda x, *parameters: (signed(x, *parameters), (x, *parameters)), backward)
    return signed


@surrogate
def sign_polynomial(x: Array) -> Array:
    """sign(x), trained through Bi-Real Net's polynomial: dy/dx := max(2 - 2|x|, 0), and NaN at NaN.

    The derivative of 2x + x^2 on [-1, 0) and 2x - x^2 on [0, 1) (Liu et al. 2018, arXiv 1808.00278).

    Args:
      x: [...], any float dtype.
    """
    return jnp.maximum(2 - 2 * jnp.abs(x), 0)


@surrogate
def sign_ede(x: Array, k: Array, t: Array) -> Array:
    """sign(x), trained through IR-Net's error decay estimator: dy/dx := k t (1 - tanh(t x)^2).

    The derivative of k tanh(t x); nothing is clipped, infinities get 0 and NaN gets NaN (Qin et al. 2020,
    arXiv 1909.10788).

    Args:
      x: [...], any float dtype.
      k: [], float32, the height.
      t: [], float32, the sharpness.
    """
    return k * t * (1 - jnp.tanh(t * x) ** 2)


@jax.custom_vjp
def hardtanh(x: Array) -> Array:
    """clip(x, -1, 1) with the derivative 1[|x| <= 1], ends included, where autodiff would give 1/2.

    Args:
      x: [...], any float dtype.  NaN stays NaN and has derivative 0.
    """
    return jnp.clip(floats(x), -1, 1)


hardtanh.defvjp(lambda x: (hardtanh(x), x), partial(_sign_clip_bwd, True))
