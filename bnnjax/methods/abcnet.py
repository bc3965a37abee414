"""ABC-Net: weights and activations as linear combinations of several binary bases."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.methods.base import Context, Initial, Method, Quantized, check_bits, identity, keep
from bnnjax.ops.quantize import clip_unit
from bnnjax.ops.sign import sign, sign_identity
from bnnjax.ops.straight_through import through

RIDGE = 1e-6  # of the least-squares fit, for coinciding bases


def weight_bases(kernel: Array, count: int) -> Array:
    """Returns B_i = sign(W - mean W + u_i std W), u_i = -1 + 2 (i - 1) / (M - 1), statistics over the layer.

    Args:
      kernel: W, [..., o].
      count: M; for M = 1, u = 0.

    Returns:
      [M, ..., o].
    """
    shifts = jnp.zeros(1) if count == 1 else jnp.linspace(-1, 1, count)
    shifts = shifts.reshape(-1, *[1] * kernel.ndim)
    return sign(kernel - jnp.mean(kernel) + shifts * jnp.std(kernel))


def fit(kernel: Array, bases: Array) -> Array:
    """Returns the alpha that minimizes ||W - sum_i alpha_i B_i||^2, [M]."""
    flat = bases.reshape(len(bases), -1)
    gram = flat @ flat.T / kernel.size + RIDGE * jnp.eye(len(bases))
    return jnp.linalg.solve(gram, flat @ kernel.ravel() / kernel.size)


def combine(kernel: Array, count: int) -> Array:
    """Returns sum_i alpha_i B_i, trained as sum_i alpha_i W: dL/dW = sum_i alpha_i dL/dB_i, dB_i/dW := 1."""
    constant = jax.lax.stop_gradient(kernel)
    bases = weight_bases(constant, count)
    alpha = fit(constant, bases)
    return through(jnp.tensordot(alpha, bases, 1), kernel * jnp.sum(alpha))


def step(x: Array) -> Array:
    """Returns +1 where clip(x, 0, 1) >= 1/2, else -1, and NaN at NaN; dy/dx := 1[0 <= x <= 1].

    Args:
      x: [...], any float dtype.
    """
    return through(sign(jax.lax.stop_gradient(x) - 0.5), clip_unit(x))


def _weight(kernel: Array, context: Context, *, count: int) -> Quantized:
    return Quantized(combine(kernel, count))


def _single_weight(kernel: Array, context: Context) -> Quantized:
    constant = jax.lax.stop_gradient(kernel)
    (alpha,) = fit(constant, weight_bases(constant, 1))
    return Quantized(sign_identity(kernel - jnp.mean(constant)), alpha)


def _activation(x: Array, context: Context) -> Quantized:
    shifts, factors = (context.learned[name].astype(x.dtype) for name in ("shift", "factor"))
    terms = [factors[n] * step(x + shifts[n]) for n in range(len(shifts))]
    return Quantized(sum(terms[1:], start=terms[0]))


def relaxed_step(x: Array) -> Array:
    """Returns clip(x - 1/2, -1, 1)."""
    return jnp.clip(x - 0.5, -1, 1)


def abcnet(wbits: int = 1, abits: int = 1) -> Method:
    """Returns ABC-Net with M = wbits weight bases and N = abits activation bases:

        What = sum_i alpha_i B_i, `weight_bases` and `fit`
        x -> sum_n beta_n H(x + v_n), `step`; v and beta are learned for each layer

    The sum of bases is convolved at once, which equals the sum of M N binary convolutions.  The gradients are
    our reading (unconfirmed).  v starts evenly spread from -1/2 to 1/2 and beta at 1 / N, which is our
    choice: equal bases would stay equal.

    Raises:
      ValueError: if the bits are not 1 to 5 each, with 32 for activations.
    """
    check_bits("abcnet", wbits, abits, [(w, a) for w in range(1, 6) for a in (1, 2, 3, 4, 5, 32)])
    learned: dict[str, Initial] = {}
    if abits != 32:
        # Concrete even if the method is built within a trace, which it outlives.
        with jax.ensure_compile_time_eval():
            spread = jnp.zeros(1) if abits == 1 else jnp.linspace(-0.5, 0.5, abits)
        learned = {
            "shift": lambda key, site: spread,
            "factor": lambda key, site: jnp.full(abits, 1 / abits),
        }
    return Method(
        name="abcnet",
        wbits=wbits,
        abits=abits,
        quantize_weight=_single_weight if wbits == 1 else partial(_weight, count=wbits),
        quantize_activation=keep if abits == 32 else _activation,
        relaxed_activation=identity if abits == 32 else relaxed_step,
        nonlinearity=jax.nn.relu if abits == 32 else identity,
        learned=learned,
        source="Lin et al. 2017, arXiv 1711.11294",
    )
