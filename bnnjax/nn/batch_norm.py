"""Batch normalization that shows its variance, which constraints differentiate and bounds read."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array


class NormStats(NamedTuple):
    """What bounds and constraints need of a batch norm; all [c], float32."""

    gain: Array
    variance: Array  # running variance + epsilon, as inference uses it
    batch_variance: Array  # of this batch + epsilon, differentiable; the running one in evaluation


class BatchNorm(nn.Module):
    """y = g (x - mean) / sqrt(var + eps) + b for each channel, over the batch of all devices.

    Running statistics follow r <- momentum r + (1 - momentum) batch.  Linen's own BatchNorm computes the
    same but keeps the batch variance to itself.  A channel of zero variance gives b.

    Attributes:
      axis_name: mapped axis over which batch statistics are averaged; None for one device.
      momentum: of the running statistics.
      epsilon: added to the variance.
    """

    axis_name: str | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Array, train: bool) -> tuple[Array, NormStats]:
        """Normalizes x, [batch, ..., c] of any float dtype; statistics are float32."""
        channels = x.shape[-1]
        gain = self.param("gain", nn.initializers.ones, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        running_variance = self.variable("batch_stats", "variance", jnp.ones, (channels,), jnp.float32)
        if train:
            mean, variance = _moments(x.astype(jnp.float32), self.axis_name)
            if not self.is_initializing():
                running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean
                running_variance.value = (
                    self.momentum * running_variance.value + (1 - self.momentum) * variance
                )
        else:
            mean, variance = running_mean.value, running_variance.value
        multiplier = gain * jax.lax.rsqrt(variance + self.epsilon)
        y = x * multiplier + (bias - mean * multiplier)
        stats = NormStats(gain, running_variance.value + self.epsilon, variance + self.epsilon)
        return y.astype(x.dtype), stats


def _moments(x: Array, axis_name: str | None) -> tuple[Array, Array]:
    axes = tuple(range(x.ndim - 1))
    mean, square = jnp.mean(x, axis=axes), jnp.mean(x * x, axis=axes)
    if axis_name is not None:
        mean, square = jax.lax.pmean((mean, square), axis_name)
    # Rounding may leave a constant channel slightly below zero.
    return mean, jnp.maximum(square - mean * mean, 0)
