"""DSQ: differentiable soft quantization, a tanh in every interval whose sharpness is learned."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.methods.base import Context, Method, Quantized, Site, check_bits, identity, keep
from bnnjax.ops.floats import floats
from bnnjax.ops.quantize import levels
from bnnjax.ops.sign import hardtanh, sign
from bnnjax.ops.straight_through import through

SOFTNESS = 0.2  # alpha at the start
LEAST, MOST = 1e-3, 1 - 1e-3  # bounds of alpha: at 0 the slope is infinite, at 1 the curve flips


def soft_quantize(x: Array, lower: Array, upper: Array, softness: Array, bits: int) -> Array:
    """Returns the nearest of 2^k evenly spaced levels from lower to upper, trained through the soft staircase

        l + D (i + (phi(x) + 1) / 2),  phi(x) = s tanh(K (x - m_i)),  D = (u - l) / (2^k - 1),
        s = 1 / (1 - alpha),  K = log(2 / alpha - 1) / D,  i the interval, m_i its middle.

    Args:
      x: [...]; beyond lower or upper the gradient goes to that bound instead of x.
      lower: l, [].
      upper: u, [].
      softness: alpha, [], in (0, 1); clipped to 0.001 to 0.999.
      bits: k, static.
    """
    x = floats(x)
    steps = levels(bits)
    step = (upper - lower) / steps
    inside = jnp.where(x < lower, lower, jnp.where(x > upper, upper, x))
    interval = jax.lax.stop_gradient(jnp.clip(jnp.floor((inside - lower) / step), 0, steps - 1))
    distance = inside - (lower + (interval + 0.5) * step)
    alpha = jnp.clip(softness, LEAST, MOST)
    phi = jnp.tanh(jnp.log(2 / alpha - 1) / step * distance) / (1 - alpha)
    soft = lower + step * (interval + (phi + 1) / 2)
    hard = lower + step * (interval + (sign(distance) + 1) / 2)
    return through(hard, soft).astype(x.dtype)


def _binary(x: Array, context: Context, *, of: str) -> Quantized:
    one = jnp.float32(1)
    return Quantized(soft_quantize(x, -one, one, context.learned[f"{of}_softness"], 1))


def _multibit(x: Array, context: Context, *, of: str, bits: int) -> Quantized:
    lower, upper, softness = (context.learned[f"{of}_{name}"] for name in ("lower", "upper", "softness"))
    return Quantized(soft_quantize(x, lower, upper, softness, bits))


def _largest(key: Array, site: Site) -> Array:
    largest = jnp.max(jnp.abs(site.latent))
    return jnp.where(largest > 0, largest, 1)


def dsq(wbits: int = 1, abits: int = 1) -> Method:
    """Returns DSQ at w/a bits: `soft_quantize` of latent weights and activations, alpha (and for more than
    one bit l and u) learned for each layer; one bit has l = -1, u = 1.

    alpha starts at 0.2.  That l and u start at -+ max |W| for weights and -+ 1 for activations, and the
    clipping of alpha, are our reading (unconfirmed).

    Raises:
      ValueError: if the bits are not 1 to 4 each, with 32 for activations.
    """
    check_bits("dsq", wbits, abits, [(w, a) for w in range(1, 5) for a in (1, 2, 3, 4, 32)])
    learned = {}
    for of, bits in (("weight", wbits), ("activation", abits)):
        if bits != 32:
            learned[f"{of}_softness"] = lambda key, site: jnp.float32(SOFTNESS)
    if wbits > 1:
        learned |= {"weight_lower": lambda key, site: -_largest(key, site), "weight_upper": _largest}
    if 1 < abits < 32:
        learned["activation_lower"] = lambda key, site: jnp.float32(-1)
        learned["activation_upper"] = lambda key, site: jnp.float32(1)

    def quantizer(of: str, bits: int) -> partial[Quantized]:
        return partial(_binary, of=of) if bits == 1 else partial(_multibit, of=of, bits=bits)

    return Method(
        name="dsq",
        wbits=wbits,
        abits=abits,
        quantize_weight=quantizer("weight", wbits),
        quantize_activation=keep if abits == 32 else quantizer("activation", abits),
        signs=True,
        relaxed_activation=identity if abits == 32 else hardtanh,
        learned=learned,
        only_trained=frozenset({"weight_softness", "activation_softness"} & learned.keys()),
        source="Gong et al. 2019, arXiv 1908.05033",
    )
