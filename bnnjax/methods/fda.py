"""FDA-BNN: the sign's gradient from its Fourier series, and a small noise module for the remainder."""

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.methods.base import Context, Initial, Method, Quantized, Site, Values, check_bits
from bnnjax.ops.scale import unscale_gradient
from bnnjax.ops.sign import hardtanh, surrogate

OMEGA = 0.1
FIRST_TERMS = 9  # of the series, at the start; twice as many at the end
REDUCTION = 64  # of the noise module's hidden layer
SINE = 0.1  # factor of the noise module's shortcut
FACTOR = 0.1  # of the noise module at the start


@surrogate
def sign_sine(x: Array, terms: Array) -> Array:
    """sign(x), trained through n + 1 terms of the square wave's series:

        dy/dx := 4 w / pi sum_{i=0..n} cos((2 i + 1) w x) = 2 w / pi sin(2 (n + 1) w x) / sin(w x)

    where |x| <= 1, else 0; w = 0.1; NaN at NaN.

    Args:
      x: [...], any float dtype.
      terms: n, [] float32, whole.
    """
    # Even in x, which is bounded away from 0: there the quotient is 2 (n + 1) to the last digit already.
    angle = OMEGA * jnp.maximum(jnp.abs(x), 1e-4)
    slope = 2 * OMEGA / jnp.pi * jnp.sin(2 * (terms + 1) * angle) / jnp.sin(angle)
    return jnp.where(jnp.abs(x) > 1, 0, slope)  # NaN stays


def noise(x: Array, first: Array, second: Array) -> Array:
    """Returns e(x) = relu(x W1) W2 + 0.1 sin x.

    Args:
      x: [..., d].
      first: W1, [d, h].
      second: W2, [h, d].
    """
    return jax.nn.relu(x @ first) @ second + SINE * jnp.sin(x)


def _weight(kernel: Array, context: Context) -> Quantized:
    scale = jax.lax.stop_gradient(jnp.mean(jnp.abs(kernel)))
    codes = sign_sine(kernel, context.schedule["terms"])
    if context.training is not None:
        filters = kernel.reshape(-1, kernel.shape[-1]).T
        missing = noise(filters, context.learned["weight_in"], context.learned["weight_out"])
        codes = codes + context.schedule["factor"] * missing.T.reshape(kernel.shape)
    return Quantized(unscale_gradient(codes, scale), scale)


def _activation(x: Array, context: Context) -> Quantized:
    codes = sign_sine(x, context.schedule["terms"])
    if context.training is not None:
        matrices = (context.learned["activation_in"], context.learned["activation_out"])
        first, second = (matrix.astype(x.dtype) for matrix in matrices)
        codes = codes + context.schedule["factor"].astype(x.dtype) * noise(x, first, second)
    return Quantized(codes)


def fourier_schedule(progress: Array) -> Values:
    """Returns n = 9 + floor(9 progress) and the noise module's factor 0.05 (1 + cos(pi progress)).

    Args:
      progress: [], epoch / epochs.
    """
    return {
        "terms": FIRST_TERMS + jnp.floor(FIRST_TERMS * progress + 1e-4),
        "factor": FACTOR / 2 * (1 + jnp.cos(jnp.pi * progress)),
    }


def _matrix(of: str, is_first: bool) -> Initial:
    def initial(key: Array, site: Site) -> Array:
        size = site.latent[..., 0].size if of == "weight" else site.latent.shape[-2]
        hidden = max(size // REDUCTION, 1)
        shape = (size, hidden) if is_first else (hidden, size)
        return jax.random.normal(key, shape) / shape[0] ** 0.5

    return initial


def fda(wbits: int = 1, abits: int = 1) -> Method:
    """Returns FDA-BNN: What = E (sign(W) + alpha e(W)), E = mean |W| over the layer, a constant;
    x -> sign(x) + alpha e(x); signs trained through `sign_sine`, e the `noise` module, learned, over the
    weights of a filter and the channels of a pixel; alpha falls to 0, `fourier_schedule`.

    Inference leaves e out.  w = 0.1, the window |x| <= 1 and the schedules of alpha and n are those of a
    later benchmark's code; the module's inputs and initial values are our reading (unconfirmed).

    Raises:
      ValueError: if the bits are not 1/1.
    """
    check_bits("fda", wbits, abits, [(1, 1)])
    return Method(
        name="fda",
        wbits=1,
        abits=1,
        quantize_weight=_weight,
        quantize_activation=_activation,
        two_codes=False,  # noise is added
        relaxed_activation=hardtanh,
        schedule=fourier_schedule,
        learned={
            "weight_in": _matrix("weight", True),
            "weight_out": _matrix("weight", False),
            "activation_in": _matrix("activation", True),
            "activation_out": _matrix("activation", False),
        },
        only_trained=frozenset({"weight_in", "weight_out", "activation_in", "activation_out"}),
        source="Xu et al. 2021, arXiv 2103.00841",
    )
