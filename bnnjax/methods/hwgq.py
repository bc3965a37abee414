"""HWGQ: scaled signs of weights, activations by a half-wave quantizer made for a unit Gaussian."""

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.config.recipe import Recipe
from bnnjax.methods.base import Context, Method, Quantized, check_bits, identity, keep
from bnnjax.ops.floats import floats
from bnnjax.ops.scale import mean_abs, unscale_gradient
from bnnjax.ops.sign import sign_identity
from bnnjax.ops.straight_through import through

STEP = 0.538  # between the centres, for 2 bits
HIGHEST = 1.614  # the highest centre
MIDPOINTS = (0.807, 1.345)  # of the positive centres


@jax.custom_vjp
def half_wave(x: Array) -> Array:
    """clip(x, 0, 1.614) with the derivative 1[0 < x <= 1.614]; NaN stays NaN and has derivative 0.

    Args:
      x: [...], any float dtype.
    """
    return jnp.clip(x, 0, HIGHEST)


def _half_wave_bwd(x: Array, g: Array) -> tuple[Array]:
    exact = x.astype(jnp.float32)  # bfloat16 would round the bound to one of its neighbours
    return (jnp.where((exact > 0) & (exact <= HIGHEST), g, jnp.zeros_like(g)),)


half_wave.defvjp(lambda x: (half_wave(x), x), _half_wave_bwd)


def half_wave_codes(x: Array) -> Array:
    """Returns 0 for x <= 0, else the number 1, 2, 3 of the nearest positive centre, trained as `half_wave`.

    A small positive x takes the first centre although 0 is nearer.  A midpoint goes to the lower centre.  NaN
    stays NaN.

    Args:
      x: [...], any float dtype.
    """
    x = floats(x)
    constant = jax.lax.stop_gradient(x)
    exact = constant.astype(jnp.float32)  # see _half_wave_bwd
    code = sum((exact > bound).astype(x.dtype) for bound in (0.0, *MIDPOINTS))
    return through(jnp.where(jnp.isnan(constant), constant, code), half_wave(x))


def _weight(kernel: Array, context: Context) -> Quantized:
    scale = jax.lax.stop_gradient(mean_abs(kernel))
    return Quantized(unscale_gradient(sign_identity(kernel), scale), scale)


def _activation(x: Array, context: Context) -> Quantized:
    codes = half_wave_codes(x)
    scale = jnp.asarray(STEP, codes.dtype)
    return Quantized(unscale_gradient(codes, scale), scale)


def hwgq(wbits: int = 1, abits: int = 2) -> Method:
    """Returns HWGQ: What_o = a_o sign(W_o), a_o = mean |W_o| a constant, dWhat/dW := 1;
    x -> 0 for x <= 0, else the nearest of 0.538 {1, 2, 3}, dy/dx := 1[0 < x <= 1.614].

    The centres are those of the uniform 2-bit quantizer and fixed.  At a midpoint the lower centre is taken,
    which is our reading.  With 32 bits activations pass a ReLU and are not quantized.

    Raises:
      ValueError: if the bits are not 1/2 or 1/32.
    """
    check_bits("hwgq", wbits, abits, [(1, 2), (1, 32)])
    quantized = abits == 2
    return Method(
        name="hwgq",
        wbits=1,
        abits=abits,
        quantize_weight=_weight,
        quantize_activation=_activation if quantized else keep,
        relaxed_activation=half_wave if quantized else identity,
        nonlinearity=identity if quantized else jax.nn.relu,
        # 100,000 steps; the batch size is unconfirmed, so the common one is taken.
        recipe=Recipe(learning_rate=0.01, weight_decay=5e-4, epochs=256),
        source="Cai et al. 2017, arXiv 1702.00953",
    )
