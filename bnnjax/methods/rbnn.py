"""RBNN: weights rotated towards their signs before the signs are taken; learned scales and angles."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.config.recipe import Recipe
from bnnjax.methods.base import (
    Context,
    Mean,
    Method,
    Quantized,
    Site,
    Values,
    check_bits,
    identity,
    keep,
    sharpening,
)
from bnnjax.ops.floats import floats
from bnnjax.ops.scale import mean_abs, standardize
from bnnjax.ops.sign import hardtanh, sign, surrogate

LOG_T_FIRST, LOG_T_LAST = -2.0, 1.0
ALTERNATIONS = 3
# On some accelerators products of default precision would make the rotations deviate from orthogonality.
EXACT = jax.lax.Precision.HIGHEST


@surrogate
def sign_triangle(x: Array, k: Array, t: Array) -> Array:
    """sign(x), trained through a triangle: dy/dx := k max(sqrt(2) t - t^2 |x|, 0), and NaN at NaN.

    The triangle has height sqrt(2) k t and support |x| < sqrt(2) / t.

    Args:
      x: [...], any float dtype.
      k: [], float32, the factor.
      t: [], float32, the sharpness.
    """
    return k * jnp.maximum(math.sqrt(2) * t - t**2 * jnp.abs(x), 0)


def sides(count: int) -> tuple[int, int]:
    """Returns (a, b) with a b = count and a <= b, as close to each other as possible."""
    a = next(a for a in range(math.isqrt(count), 0, -1) if count % a == 0)
    return a, count // a


def as_matrices(kernel: Array) -> Array:
    """Returns each filter as a matrix, its weights in the order of [kh, kw, i].

    Args:
      kernel: [..., o].

    Returns:
      [o, a, b] with (a, b) the `sides` of the number of weights in a filter.
    """
    columns = kernel.reshape(-1, kernel.shape[-1])
    return columns.T.reshape(-1, *sides(len(columns)))


def rotate(matrices: Array, left: Array, right: Array) -> Array:
    """Returns left^T X right of every matrix X.

    Args:
      matrices: [o, a, b].
      left: [a, a].
      right: [b, b].
    """
    return jnp.einsum("pa,opq,qb->oab", left, matrices, right, precision=EXACT)


def refresh(matrices: Array, left: Array, right: Array) -> tuple[Array, Array]:
    """Returns left and right after three alternations that lower sum_o ||B_o - left^T X_o right||_F^2.

    Each takes B = sign(left^T X right), then the best orthogonal left for this B and right, then the best
    right for this B and left (orthogonal Procrustes problems).

    Args:
      matrices: X, [o, a, b].
      left: [a, a], orthogonal.
      right: [b, b], orthogonal.
    """
    for _ in range(ALTERNATIONS):
        signs = sign(rotate(matrices, left, right))
        u, _, vt = jnp.linalg.svd(jnp.einsum("oab,qb,opq->ap", signs, right, matrices, precision=EXACT))
        left = jnp.matmul(u, vt, precision=EXACT).T
        u, _, vt = jnp.linalg.svd(jnp.einsum("opq,pa,oab->qb", matrices, left, signs, precision=EXACT))
        right = jnp.matmul(u, vt, precision=EXACT)
    return left, right


def rotated(kernel: Array, context: Context) -> Array:
    """Returns z + |sin angle_o| sg(left^T Z right - z), z the standardized weights and Z those as matrices.

    Args:
      kernel: [..., o].
      context: with "angle" [o] learned, "left" and "right" in memory.
    """
    z = standardize(kernel)
    turned = rotate(as_matrices(z), context.memory["left"], context.memory["right"])
    turned = turned.reshape(kernel.shape[-1], -1).T.reshape(kernel.shape)
    return z + jnp.abs(jnp.sin(context.learned["angle"])) * jax.lax.stop_gradient(turned - z)


def _weight(kernel: Array, context: Context) -> Quantized:
    k, t = context.schedule["k"], context.schedule["t"]
    return Quantized(sign_triangle(rotated(kernel, context), k, t), context.learned["scale"])


def per_sample(x: Array) -> Array:
    """Returns each sample minus its mean, over its unbiased standard deviation, in float32.

    A sample of a single activation has no deviation and stays unchanged; equal activations give zeros.

    Args:
      x: [batch, ...].
    """
    wide = x.astype(jnp.float32)
    return wide if x[0].size == 1 else jnp.moveaxis(standardize(jnp.moveaxis(wide, 0, -1)), -1, 0)


def _activation(x: Array, context: Context) -> Quantized:
    x, t = floats(x), context.schedule["t"]
    codes = sign_triangle(per_sample(x), jnp.ones_like(t), jnp.maximum(t, 1.0))
    return Quantized(codes.astype(x.dtype))


def _initial_scale(key: Array, site: Site) -> Array:
    return mean_abs(site.latent)


def _initial_angle(key: Array, site: Site) -> Array:
    return jnp.full(site.latent.shape[-1:], jnp.pi / 2)


def _initial_left(key: Array, site: Site) -> Array:
    return jax.random.orthogonal(key, sides(site.latent[..., 0].size)[0])


def _initial_right(key: Array, site: Site) -> Array:
    return jax.random.orthogonal(key, sides(site.latent[..., 0].size)[1])


def _remember(latent: Array, x: Array, context: Context, mean: Mean) -> Values:
    if context.training is None:
        return context.memory
    kept = context.memory["left"], context.memory["right"]

    # Latent kernels are the same on all devices, and so are the rotations: there is nothing to average.
    def renew() -> tuple[Array, Array]:
        return refresh(as_matrices(standardize(latent)), *kept)

    left, right = jax.lax.cond(context.training.epoch_begins, renew, lambda: kept)
    return {"left": left, "right": right}


def rbnn(wbits: int = 1, abits: int = 1) -> Method:
    """Returns RBNN: What_o = a_o sign(w_o), w the `rotated` weights and a_o learned, initially mean |W_o|,
    trained through a triangle; x -> sign((x - mean x) / std x) of each sample, through a triangle with k = 1
    and t at least 1; `sign_triangle`, t from 0.01 to 10 and k by `sharpening`.

    `refresh` updates the rotations in the first step of each epoch, after its forward pass, so they take
    effect in the second step; the official code updates them before the first.  Filters are flattened in the
    order [kh, kw, i], in the official code [i, kh, kw].

    Raises:
      ValueError: if the bits are not 1/1 or 1/32.
    """
    check_bits("rbnn", wbits, abits, [(1, 1), (1, 32)])
    binary = abits == 1
    return Method(
        name="rbnn",
        wbits=1,
        abits=abits,
        quantize_weight=_weight,
        quantize_activation=_activation if binary else keep,
        signs=True,
        centres=True,
        relaxed_activation=hardtanh if binary else identity,
        schedule=partial(sharpening, first=LOG_T_FIRST, last=LOG_T_LAST),
        learned={"scale": _initial_scale, "angle": _initial_angle},
        only_trained=frozenset({"scale", "angle"}),
        memory={"left": _initial_left, "right": _initial_right},
        remember=_remember,
        recipe=Recipe(learning_rate=0.1, weight_decay=1e-4, batch_size=256, epochs=1000),
        source="Lin et al. 2020, arXiv 2009.13055",
    )
