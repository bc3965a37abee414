"""SQ-BWN and SQ-TWN: stochastic quantization of a growing share of the filters during training."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.config.recipe import Recipe
from bnnjax.methods.base import Context, Method, Quantized, Values, check_bits, identity, keep, stage_at
from bnnjax.methods.twn import THRESHOLD, ternary_identity, ternary_scale
from bnnjax.ops.scale import mean_abs, unscale_gradient
from bnnjax.ops.sign import sign_identity

RATIOS = (0.5, 0.75, 0.875, 1.0)  # of quantized filters, one for each quarter of training
SOURCE = "Dong et al. 2017, arXiv 1708.01001"
# The four stages of ResNet-56, 64,000 steps each, in one run; the batch size is unconfirmed, so the common
# one is taken.
RECIPE = Recipe(epochs=656)


def ratio_schedule(progress: Array) -> Values:
    """Returns the ratio r of quantized filters: 0.5, 0.75, 0.875, 1 in the four quarters of training.

    The authors train four runs, each starting from the weights of the one before; here they are stages of
    one run: the learning rate restarts in each, the optimizer's moments are kept.

    Args:
      progress: [], epoch / epochs; 1 at inference.
    """
    return {"ratio": jnp.asarray(RATIOS, jnp.float32)[stage_at(progress, len(RATIOS))]}


def relative_error(kernel: Array, quantized: Array) -> Array:
    """Returns e_o = ||W_o - Q_o||_1 / ||W_o||_1; 0 for a filter of zeros.

    Args:
      kernel: W, [..., o].
      quantized: Q, of the same shape.

    Returns:
      [o].
    """
    norm = mean_abs(kernel)
    return jnp.where(norm > 0, mean_abs(kernel - quantized) / jnp.where(norm > 0, norm, 1), 0)


def draw(key: Array, error: Array, count: Array) -> Array:
    """Returns which `count` filters are drawn without replacement, with probability proportional to error.

    Taking the largest log e_o + Gumbel noise has exactly the distribution of drawing one after the other in
    proportion to e_o among those left.  Filters of error 0 or NaN come last.

    Args:
      key: random key.
      error: e, [o], not negative.
      count: [], whole.

    Returns:
      bool [o].
    """
    chance = jnp.where(error > 0, jnp.log(jnp.where(error > 0, error, 1)), -jnp.inf)
    score = chance + jax.random.gumbel(key, error.shape)
    rank = jnp.argsort(jnp.argsort(-score))
    return rank < count


def _binary(kernel: Array) -> tuple[Array, Array]:
    return sign_identity(kernel), mean_abs(jax.lax.stop_gradient(kernel))


def _ternary(kernel: Array) -> tuple[Array, Array]:
    constant = jax.lax.stop_gradient(kernel)
    threshold = THRESHOLD * jnp.mean(jnp.abs(constant - jnp.mean(constant)))
    scale = ternary_scale(constant, threshold, tuple(range(kernel.ndim - 1)))
    return ternary_identity(kernel, threshold), scale


def _stochastic(quantize: Callable[[Array], tuple[Array, Array]]) -> Callable[[Array, Context], Quantized]:
    """Returns the quantizer that leaves a random share (1 - r) of filters in full precision in training."""

    def weight(kernel: Array, context: Context) -> Quantized:
        codes, scale = quantize(kernel)
        codes = unscale_gradient(codes, scale)
        if context.training is None:  # inference
            return Quantized(codes, scale)
        error = relative_error(*jax.lax.stop_gradient((kernel, codes * scale)))
        count = jnp.floor((1 - context.schedule["ratio"]) * kernel.shape[-1])
        real = draw(context.training.key, error, count)
        return Quantized(jnp.where(real, kernel, codes), jnp.where(real, 1, scale))

    return weight


def _method(name: str, wbits: int, quantize: Callable[[Array], tuple[Array, Array]]) -> Method:
    return Method(
        name=name,
        wbits=wbits,
        abits=32,
        quantize_weight=_stochastic(quantize),
        quantize_activation=keep,
        relaxed_activation=identity,
        nonlinearity=jax.nn.relu,
        schedule=ratio_schedule,
        stages=len(RATIOS),
        recipe=RECIPE,
        source=SOURCE,
    )


def sqbwn(wbits: int = 1, abits: int = 32) -> Method:
    """Returns SQ-BWN: Q_o = a_o sign(W_o), a_o = mean |W_o| a constant; in each step What_o = W_o for
    floor((1 - r) C) of the C filters, which `draw` picks by ||W_o - Q_o||_1 / ||W_o||_1, else Q_o;
    dWhat/dW := 1 for both; r by `ratio_schedule`; x as it is, after a ReLU.

    Inference always quantizes all filters, which is our reading: the authors' code keeps drawing.  The codes
    of filters left in full precision are not integers.

    Raises:
      ValueError: if the bits are not 1/32.
    """
    check_bits("sqbwn", wbits, abits, [(1, 32)])
    return _method("sqbwn", 1, _binary)


def sqtwn(wbits: int = 2, abits: int = 32) -> Method:
    """Returns SQ-TWN: SQ-BWN with Q_o = a_o T_o, T = sign(W) 1[|W| > D], D = 0.7 mean |W - mean W| over the
    layer, a_o = mean of |W_o| over |W_o| > D.

    Raises:
      ValueError: if the bits are not 2/32.
    """
    check_bits("sqtwn", wbits, abits, [(2, 32)])
    return _method("sqtwn", 2, _ternary)
