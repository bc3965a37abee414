"""LQ-Net: quantizers whose levels are sums of a learned basis."""

from functools import partial
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bnnjax.config.recipe import Recipe
from bnnjax.methods.base import (
    Context,
    Initial,
    Mean,
    Method,
    Quantized,
    Site,
    Values,
    check_bits,
    identity,
    keep,
)
from bnnjax.ops.floats import floats
from bnnjax.ops.straight_through import through

QUARTILE = 0.6745  # upper quartile of the normal distribution
KEPT = 0.9  # share of the old basis at every step
RIDGE = 1e-4
EXACT = jax.lax.Precision.HIGHEST


def _codes(low: int, bits: int) -> np.ndarray:
    """Returns all codes, [2^k, k], each of {low, 1}."""
    return np.array(list(product((low, 1), repeat=bits)), np.float32)


class Levels(NamedTuple):
    """The levels of a basis in ascending order."""

    codes: Array  # [2^k, o, k]
    values: Array  # [2^k, o]
    thresholds: Array  # [2^k - 1, o], halfway between


def levels_of(basis: Array, low: int) -> Levels:
    """Returns the levels c . v for all codes c in {low, 1}^k.

    Args:
      basis: v, [k, o].
      low: -1 for weights, 0 for activations.
    """
    codes = jnp.asarray(_codes(low, len(basis)))
    values = codes @ basis
    order = jnp.argsort(values, axis=0)
    values = jnp.take_along_axis(values, order, axis=0)
    return Levels(codes[order], values, (values[:-1] + values[1:]) / 2)


def quantize(x: Array, basis: Array, low: int) -> Array:
    """Returns the level nearest to x; at a midpoint the upper one.

    Args:
      x: [..., o].
      basis: v, [k, o] or [k, 1].
      low: see `levels_of`.
    """
    _, levels, thresholds = levels_of(basis, low)
    value = jnp.broadcast_to(levels[0], x.shape)
    for threshold, upper in zip(thresholds, levels[1:], strict=True):
        value = jnp.where(x >= threshold, upper, value)
    return jnp.where(jnp.isnan(x), x, value)


def quantize_weights(kernel: Array, basis: Array) -> Array:
    """Returns `quantize` of a kernel [..., o] by its basis [k, o], trained through the identity."""
    return through(quantize(*jax.lax.stop_gradient((kernel, basis)), -1), kernel)


@jax.custom_vjp
def quantize_activations(x: Array, basis: Array) -> Array:
    """Returns `quantize` of activations [..., c] by their basis [k], dy/dx := 1[x <= highest level]."""
    return quantize(x, basis[:, None], 0).astype(x.dtype)


def _activations_bwd(residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, basis = residuals
    return jnp.where(x <= jnp.sum(basis), g, jnp.zeros_like(g)), jnp.zeros_like(basis)


quantize_activations.defvjp(lambda x, basis: (quantize_activations(x, basis), (x, basis)), _activations_bwd)


def fit_basis(x: Array, basis: Array, low: int, mean: Mean) -> Array:
    """Returns 0.9 v + 0.1 (B B' + r)^-1 (B x + r v): the least-squares basis for x's current codes B.

    Args:
      x: [n, o].
      basis: v, [k, o].
      low: see `levels_of`.
      mean: over devices.

    Returns:
      [k, o].  The ridge r = 1e-4 / n keeps v where no code uses it.
    """
    codes, _, thresholds = levels_of(basis, low)
    # The counts and sums of x per level suffice, so codes of x are never made.  Level by level, starting from
    # the lowest: the share of x that is there or above, and its sum.
    above = [x >= threshold for threshold in thresholds]
    shares = [jnp.ones(x.shape[1:]), *(jnp.mean(beyond, axis=0) for beyond in above)]
    sums = [jnp.mean(x, axis=0), *(jnp.mean(jnp.where(beyond, x, 0), axis=0) for beyond in above)]
    share, total = (-jnp.diff(jnp.stack(each), axis=0, append=0) for each in mean((shares, sums)))
    target = jnp.einsum("lo,lok->ko", total, codes, precision=EXACT)
    gram = jnp.einsum("lo,lok,lom->okm", share, codes, codes, precision=EXACT)
    ridge = RIDGE / len(x)
    gram += ridge * jnp.eye(len(basis))
    solved = jnp.linalg.solve(gram, (target + ridge * basis).T[..., None])[..., 0].T
    return KEPT * basis + (1 - KEPT) * solved


def _initial_weight_basis(bits: int) -> Initial:
    def initial(key: Array, site: Site) -> Array:
        outputs = site.latent.shape[-1]
        fan_out = site.latent[..., 0, 0].size * outputs
        first = QUARTILE * (2 / fan_out) ** 0.5 / 2 ** (bits - 1)
        return jnp.outer(first * 2.0 ** jnp.arange(bits), jnp.ones(outputs))

    return initial


def _initial_activation_basis(bits: int) -> Initial:
    return lambda key, site: 2.0 ** jnp.arange(bits) * (2 * QUARTILE / (2**bits - 1))


def _weight(kernel: Array, context: Context) -> Quantized:
    return Quantized(quantize_weights(kernel, context.memory["weight_basis"]))


def _activation(x: Array, context: Context) -> Quantized:
    return Quantized(quantize_activations(floats(x), context.memory["activation_basis"]))


def _remember(latent: Array, x: Array, context: Context, mean: Mean, *, abits: int) -> Values:
    flat = latent.reshape(-1, latent.shape[-1])
    # The kernel is the same on all devices.
    new = {"weight_basis": fit_basis(flat, context.memory["weight_basis"], -1, identity)}
    if abits != 32:
        column = x.astype(jnp.float32).reshape(-1, 1)
        basis = context.memory["activation_basis"][:, None]
        new["activation_basis"] = fit_basis(column, basis, 0, mean)[:, 0]
    return new


def clip_to_highest(x: Array) -> Array:
    """Returns x clipped between 0 and the initial highest level of activations, equal for all bases."""
    return jnp.clip(x, 0, 2 * QUARTILE)


def lqnet(wbits: int = 1, abits: int = 2) -> Method:
    """Returns LQ-Net at w/a bits: x -> the nearest of the levels c . v, with c in {-1, 1}^w and v for each
    filter for weights, c in {0, 1}^a and v for each layer for activations after a ReLU;
    dWhat/dW := 1, dy/dx := 1[x <= highest level].  v follows least squares, `fit_basis`, after each step.

    At a midpoint the upper level is taken, so that sign(0) = +1 with one bit.  The ridge in the activations'
    least squares is our addition: their codes may all be 0.

    Raises:
      ValueError: if the bits are not 1 to 4 each, with 32 for activations.
    """
    check_bits("lqnet", wbits, abits, [(w, a) for w in range(1, 5) for a in (1, 2, 3, 4, 32)])
    memory = {"weight_basis": _initial_weight_basis(wbits)}
    if abits != 32:
        memory["activation_basis"] = _initial_activation_basis(abits)
    return Method(
        name="lqnet",
        wbits=wbits,
        abits=abits,
        quantize_weight=_weight,
        quantize_activation=keep if abits == 32 else _activation,
        relaxed_activation=identity if abits == 32 else clip_to_highest,
        nonlinearity=jax.nn.relu,
        memory=memory,
        remember=partial(_remember, abits=abits),
        recipe=Recipe(learning_rate=0.02, weight_decay=5e-4, batch_size=100),
        source="Zhang et al. 2018, arXiv 1807.10029",
    )
