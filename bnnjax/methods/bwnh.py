"""BWNH: a pretrained network's kernels hashed to signs and scales that keep layer outputs; fine-tuning."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.config.recipe import Recipe
from bnnjax.methods.base import Context, Method, Quantized, check_bits, identity, keep
from bnnjax.ops.scale import mean_abs, unscale_gradient
from bnnjax.ops.sign import sign, sign_identity

SWEEPS = 10  # at most; about thirty settle all bits, and lower the error by a few percent more
BLOCK = 64  # bits that are flipped between two products with the whole Gram matrix

_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


class Hashed(NamedTuple):
    """A binary kernel: bits times the scale of their filter."""

    bits: Array  # [fan_in, o], +-1
    scale: Array  # [o], not negative


def least_squares_scale(gram: Array, target: Array, bits: Array, default: Array) -> Array:
    """Returns a_j = b_j' G w_j / b_j' G b_j, and the default where b_j' G b_j = 0.

    Args:
      gram: G, [fan_in, fan_in].
      target: G w, [fan_in, o].
      bits: b, [fan_in, o].
      default: [o].
    """
    along, square = jnp.sum(bits * target, axis=0), jnp.sum(bits * _matmul(gram, bits), axis=0)
    return jnp.where(square > 0, along / jnp.where(square > 0, square, 1), default)


def _sweep_block(gram: Array, target: Array, scale: Array, number: Array, bits: Array) -> Array:
    """Returns the bits after those of one block of BLOCK rows were flipped, in turn; see `_sweep`."""
    first = number * BLOCK
    rows = partial(jax.lax.dynamic_slice_in_dim, start_index=first, slice_size=BLOCK)
    own_gram, wanted = rows(rows(gram), axis=1), rows(target)

    def flip(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        own, response = carry  # the block's bits and its rows of G b
        bit = own[i]
        change = scale * (bit * (wanted[i] - scale * response[i]) + scale * own_gram[i, i])
        step = jnp.where(change < 0, -2 * bit, 0)
        return own.at[i].add(step), response + own_gram[:, i, None] * step

    own, _ = jax.lax.fori_loop(0, BLOCK, flip, (rows(bits), _matmul(rows(gram), bits)))
    return jax.lax.dynamic_update_slice_in_dim(bits, own, first, axis=0)


def _sweep(gram: Array, target: Array, hashed: Hashed) -> Array:
    """Returns the bits after each was flipped, in turn, if that lowers its filter's error; ties keep it.

    With r = G b, flipping bit i changes the error by 4 a (b_i ((G w)_i - a r_i) + a G_ii).  The fan-in is a
    multiple of BLOCK.
    """
    block = partial(_sweep_block, gram, target, hashed.scale)
    return jax.lax.fori_loop(0, len(gram) // BLOCK, block, hashed.bits)


def hash_kernel(kernel: Array, gram: Array, sweeps: int = SWEEPS) -> Hashed:
    """Returns bits B and scales A of low error ||X W - X B A||_F^2 = sum_j (w_j - a_j b_j)' G (w_j - a_j b_j)

    Alternates, from B = sign(W): A is the least-squares solution; then each bit in turn is flipped if that
    lowers the error (cyclic coordinate descent), until no flip does or `sweeps` are done.  No step raises the
    error.

    Args:
      kernel: W, [fan_in, o] float32.
      gram: G = X'X, or a multiple of it, [fan_in, fan_in] float32, for inputs X [n, fan_in].
      sweeps: static.

    Source: Hu, Wang, Cheng 2018, arXiv 1802.02733, for the objective; the order of the solver's steps and its
    stopping rule are our reading.
    """
    fan_in = len(kernel)
    # Bits whose inputs are all 0 tie, and so are never flipped.
    missing = -fan_in % BLOCK
    gram = jnp.pad(gram, ((0, missing), (0, missing)))
    kernel = jnp.pad(kernel, ((0, missing), (0, 0)))
    target = _matmul(gram, kernel)
    default = jnp.sum(jnp.abs(kernel), axis=0) / fan_in
    fit = partial(least_squares_scale, gram, target, default=default)

    bits = sign(kernel)
    scale = fit(bits)
    # Later sweeps keep the scale positive: they only lower an error that is already below w'Gw.
    start = Hashed(bits * sign(scale), jnp.abs(scale))

    def goes_on(carry: tuple[Hashed, Array, Array]) -> Array:
        _, done, flipped = carry
        return flipped & (done < sweeps)

    def improve(carry: tuple[Hashed, Array, Array]) -> tuple[Hashed, Array, Array]:
        before, done, _ = carry
        bits = _sweep(gram, target, before)
        return Hashed(bits, fit(bits)), done + 1, jnp.any(bits != before.bits)

    found, _, _ = jax.lax.while_loop(goes_on, improve, (start, jnp.int32(0), jnp.bool_(True)))
    return Hashed(found.bits[:fan_in], found.scale)


def hash_latent(latent: Array, patches: Array, context: Context) -> Array:
    """Returns a_o b_o for each filter: its signs are the hashed bits, its mean absolute value the scale.

    Args:
      latent: [..., o].
      patches: [n, fan_in], the layer's inputs.
      context: unused.
    """
    gram = _matmul(patches.T, patches) / len(patches)
    bits, scale = hash_kernel(latent.reshape(-1, latent.shape[-1]), gram)
    return (bits * scale).reshape(latent.shape)


def _weight(kernel: Array, context: Context) -> Quantized:
    scale = mean_abs(jax.lax.stop_gradient(kernel))
    return Quantized(unscale_gradient(sign_identity(kernel), scale), scale)


def bwnh(wbits: int = 1, abits: int = 32) -> Method:
    """Returns BWNH: What_o = a_o sign(W_o), a_o = mean |W_o| a constant, dWhat/dW := 1; x as it is, after a
    ReLU.  A pretrained network's kernels are hashed layer by layer (`hash_latent`), with the inputs that the
    layers hashed before produce; then the network is fine-tuned.

    Only the objective is confirmed.  The fine-tuning, said to be straight through in the original, is our
    reading, and so is the latent kernel that it starts from, a_o b_o.

    Raises:
      ValueError: if the bits are not 1/32.
    """
    check_bits("bwnh", wbits, abits, [(1, 32)])
    return Method(
        name="bwnh",
        wbits=1,
        abits=32,
        quantize_weight=_weight,
        quantize_activation=keep,
        relaxed_activation=identity,
        nonlinearity=jax.nn.relu,
        prepare=hash_latent,
        pretrained=True,
        # None is published for CIFAR-10.
        recipe=Recipe(),
        source="Hu et al. 2018, arXiv 1802.02733",
    )
