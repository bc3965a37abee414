"""Batch normalization that also returns its variances, for constraints and bounds."""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.methods.base import identity
from bnnjax.ops.batch_norm import batch_norm, scale_and_shift
from bnnjax.ops.floats import floats


class NormStats(NamedTuple):
    """What bounds and constraints need of a batch norm; all [c], float32."""

    gain: Array
    variance: Array  # running variance + epsilon + floor, as inference uses it
    batch_variance: Array  # of this batch + epsilon + floor, differentiable; the running one in evaluation


class BatchNorm(nn.Module):
    """y = activation(g (x - mean) / sqrt(var + eps + floor) + b + shortcut), over the batch of all devices.

    Running statistics follow r <- momentum r + (1 - momentum) batch.  Linen's own BatchNorm does not return
    the batch variance and does not fuse shortcut and activation.  A channel of zero variance gives
    activation(b + shortcut), exactly in training, up to the rounding of its running mean in evaluation.

    Attributes:
      axis_name: mapped axis over which batch statistics are averaged; None for one device.
      momentum: of the running statistics.
      epsilon: added to the variance.
    """

    axis_name: str | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5

    @nn.compact
    def __call__(
        self,
        x: Array,
        train: bool,
        shortcut: Array | None = None,
        activation: Callable[[Array], Array] = identity,
        floor: Array | None = None,
    ) -> tuple[Array, NormStats]:
        """Normalizes x, [batch, ..., c] of any float dtype; statistics and floor, [c], are float32."""
        x = floats(x)
        channels = x.shape[-1]
        gain = self.param("gain", nn.initializers.ones, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        running_variance = self.variable("batch_stats", "variance", jnp.ones, (channels,), jnp.float32)
        added = self.epsilon if floor is None else self.epsilon + floor
        if train:
            # Jitted, so that it is traced once for all inputs of a shape.
            normalize = jax.jit(batch_norm, static_argnums=(4, 5, 6))
            y, mean, variance = normalize(
                x, shortcut, gain, bias, activation, self.epsilon, self.axis_name, floor
            )
            if not self.is_initializing():
                for running, batch in ((running_mean, mean), (running_variance, variance)):
                    new = self.momentum * running.value + (1 - self.momentum) * batch
                    running.value = jax.lax.stop_gradient(new)
        else:
            variance = running_variance.value
            multiplier = gain * jax.lax.rsqrt(variance + added)
            offset = bias - running_mean.value * multiplier
            y = scale_and_shift(x, shortcut, multiplier, offset, activation)
        return y, NormStats(gain, running_variance.value + added, variance + added)
