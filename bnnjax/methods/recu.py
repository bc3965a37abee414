"""ReCU: standardized weights with clamped tails, so that large weights can change sign; learned scales."""

import math

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.config.recipe import Recipe
from bnnjax.methods.base import Context, Method, Quantized, Site, Values, check_bits, signs_of
from bnnjax.ops.sign import hardtanh, sign, sign_identity, sign_polynomial

TAU_MIN, TAU_MAX = 0.85, 0.99
EPSILON = 1e-5
LARGEST = 1e15  # its square, summed over a sample, is far from float32's largest number


def _divide_by_deviation(x: Array, axes: tuple[int, ...], count: int) -> Array:
    """Returns x / sqrt(var + 1e-5), the variance unbiased and over `axes`, of `count` entries."""
    centred = x - jnp.mean(x, axis=axes, keepdims=True)
    variance = jnp.sum(centred**2, axis=axes, keepdims=True) / max(count - 1, 1)
    return x * jax.lax.rsqrt(variance + EPSILON)


def clamped(kernel: Array, tau: Array) -> Array:
    """Returns w2 = clip(w1, -Q, Q) with dw2/dw1 = 1[|w1| <= Q], ends included.

    w1 = 2 sqrt(2) (w_o - mean w_o) / sqrt(var w_o + 1e-5) for each filter, its variance unbiased;
    Q = -mean |w1| ln(2 - 2 tau) with the mean over the layer, a constant.

    Args:
      kernel: [..., o].
      tau: [], in [0.5, 1).
    """
    axes = tuple(range(kernel.ndim - 1))
    centred = kernel - jnp.mean(kernel, axis=axes)
    scaled = 2 * math.sqrt(2) * _divide_by_deviation(centred, axes, kernel[..., 0].size)
    limit = -jnp.mean(jnp.abs(scaled)) * jnp.log(2 - 2 * tau)
    # Not jnp.clip alone: its derivative at the ends is 1/2, and Q would get a gradient.
    end = jax.lax.stop_gradient(jnp.clip(scaled, -limit, limit))
    return jnp.where(jnp.abs(scaled) <= limit, scaled, end)


@jax.custom_vjp
def sign_per_sample(x: Array) -> Array:
    """sign(x), trained through Bi-Real Net's polynomial of x / sqrt(var + 1e-5), var (unbiased) per sample.

    The division changes no sign, so only the backward pass computes it, in float32 and with x clipped to
    1e15, so that squares stay finite.

    Args:
      x: [batch, ...], any float dtype.
    """
    return sign(x)


def _sign_per_sample_bwd(x: Array, g: Array) -> tuple[Array]:
    def through(x: Array) -> Array:
        return sign_polynomial(_divide_by_deviation(x, tuple(range(1, x.ndim)), x[0].size))

    _, pull = jax.vjp(through, jnp.clip(x.astype(jnp.float32), -LARGEST, LARGEST))
    return (pull(g.astype(jnp.float32))[0].astype(x.dtype),)


sign_per_sample.defvjp(lambda x: (sign_per_sample(x), x), _sign_per_sample_bwd)


def _weight(kernel: Array, context: Context) -> Quantized:
    return Quantized(sign_identity(clamped(kernel, context.schedule["tau"])), context.learned["scale"])


def _activation(x: Array, context: Context) -> Quantized:
    return signs_of(x, sign_per_sample(x))


def _initial_scale(key: Array, site: Site) -> Array:
    return jax.random.uniform(key, site.latent.shape[-1:])


def tau_schedule(progress: Array) -> Values:
    """Returns tau = 0.85 + 0.14 (exp(progress) - 1) / (e - 1), from 0.85 to 0.99.

    Args:
      progress: [], epoch / epochs.
    """
    return {"tau": TAU_MIN + (TAU_MAX - TAU_MIN) / (math.e - 1) * jnp.expm1(progress)}


def recu(wbits: int = 1, abits: int = 1) -> Method:
    """Returns ReCU: What_o = a_o sign(w2_o), w2 the `clamped` weights and a_o learned, initially U[0, 1),
    dsign(w2)/dw2 := 1; x -> sign(x), dy/dx that of `sign_per_sample`.

    Raises:
      ValueError: if the bits are not 1/1.
    """
    check_bits("recu", wbits, abits, [(1, 1)])
    return Method(
        name="recu",
        wbits=1,
        abits=1,
        quantize_weight=_weight,
        quantize_activation=_activation,
        signs=True,
        centres=True,
        relaxed_activation=hardtanh,
        schedule=tau_schedule,
        learned={"scale": _initial_scale},
        only_trained=frozenset({"scale"}),
        recipe=Recipe(learning_rate=0.1, weight_decay=5e-4, batch_size=256, epochs=600),
        source="Xu et al. 2021, arXiv 2103.12369",
    )
