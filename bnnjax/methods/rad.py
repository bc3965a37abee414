"""RAD: signs without scales, and a loss on the distribution of activations before the sign."""

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.config.recipe import Recipe
from bnnjax.methods.base import Context, Mean, Method, Quantized, Values, check_bits, identity, signs_of
from bnnjax.methods.bnn import clip_latent
from bnnjax.ops.sign import hardtanh, sign_clip, sign_identity

STRENGTH = 2.0
LAST = 60 / 65  # the progress from which on the loss is left out
EPSILON = 1e-10


def _weight(kernel: Array, context: Context) -> Quantized:
    return Quantized(sign_identity(kernel))


def _activation(x: Array, context: Context) -> Quantized:
    return signs_of(x, sign_clip(x, False))


def distribution_loss(latent: Array, x: Array, context: Context, mean: Mean) -> Array:
    """Returns lambda (mean_c (2 - |mu| - sigma)+^2 + mean_c (sigma - 4)+^2 + mean_c (mu^2 - sigma^2)+).

    The first term penalizes channels whose values all lie within the clip's interval (degeneration), the
    second those that spread far beyond it (saturation), the third those with mostly one sign.

    Args:
      latent: unused.
      x: [batch, ..., c]; mu and sigma are each channel's over all other axes and all devices, sigma with the
        biased variance + 1e-10.
      context: with "lambda" in its schedule.
      mean: over the devices.
    """
    wide = x.astype(jnp.float32)
    axes = tuple(range(x.ndim - 1))
    mu, square = mean((jnp.mean(wide, axis=axes), jnp.mean(wide**2, axis=axes)))
    # Rounding may make the difference of moments negative, where the root is NaN.
    variance = jax.nn.relu(square - mu**2) + EPSILON
    sigma = jnp.sqrt(variance)
    concentrated = jax.nn.relu(2 - jnp.abs(mu) - sigma) ** 2
    saturated = jax.nn.relu(sigma - 4) ** 2
    one_sided = jax.nn.relu(mu**2 - variance)
    return context.schedule["lambda"] * jnp.mean(concentrated + saturated + one_sided)


def distribution_schedule(progress: Array) -> Values:
    """Returns lambda = 2 in the first 60/65 of training, then 0.

    Args:
      progress: [], epoch / epochs.
    """
    return {"lambda": jnp.where(progress < LAST, jnp.float32(STRENGTH), jnp.float32(0))}


def rad(wbits: int = 1, abits: int = 1) -> Method:
    """Returns RAD: What = sign(W), dWhat/dW := 1, W clipped to [-1, 1]; x -> sign(x), dy/dx := 1[|x| < 1];
    and the loss `distribution_loss`, averaged over layers.

    The clip of activations is part of their quantizer: the loss needs the values before it.

    Raises:
      ValueError: if the bits are not 1/1.
    """
    check_bits("rad", wbits, abits, [(1, 1)])
    return Method(
        name="rad",
        wbits=1,
        abits=1,
        quantize_weight=_weight,
        quantize_activation=_activation,
        signs=True,
        relaxed_activation=hardtanh,
        nonlinearity=identity,
        schedule=distribution_schedule,
        layer_loss=distribution_loss,
        project_latent=clip_latent,
        recipe=Recipe(optimizer="adamw", learning_rate=1e-2, weight_decay=0.0, batch_size=256, epochs=65),
        source="Ding et al. 2019, arXiv 1904.02823 (its recipe is of AlexNet on ImageNet)",
    )
