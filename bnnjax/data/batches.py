"""The images of each batch, as a pure function of key, epoch and step, with no state to save.

A run that stops in the middle of an epoch resumes from (seed, epoch, step): `epoch_keys` and
`training_batches` give the same order and the same augmentation again, and the loop starts at `step`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class EpochKeys(NamedTuple):
    """The random keys of one epoch, independent of each other."""

    order: jax.Array  # for training_batches
    augment: jax.Array  # for step_key


def epoch_keys(key: jax.Array, epoch: int | jax.Array) -> EpochKeys:
    """The keys of epoch `epoch` of the run whose data key is `key`."""
    return EpochKeys(*jax.random.split(jax.random.fold_in(key, epoch)))


def step_key(keys: EpochKeys, step: int | jax.Array) -> jax.Array:
    """The augmentation key of step `step` (counted from the epoch's first) of an epoch."""
    return jax.random.fold_in(keys.augment, step)


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """How many full batches an epoch has: floor(examples / batch_size).

    Raises:
      ValueError: `batch_size` is not between 1 and `examples`.
    """
    if not 1 <= batch_size <= examples:
        raise ValueError(
            f"batch size {batch_size} with {examples} training images: allowed is 1 to {examples}"
        )
    return examples // batch_size


def training_batches(keys: EpochKeys, examples: int, batch_size: int) -> jax.Array:
    """The image indices of every batch of an epoch, in a new random order.

    An incomplete last batch is dropped, so each epoch lacks different images.

    Args:
      keys: of the epoch.
      examples: how many training images there are.
      batch_size: of the global batch, over all devices.

    Returns:
      int32 [steps, batch_size]; no index occurs twice.

    Raises:
      ValueError: `batch_size` is not between 1 and `examples`.
    """
    steps = steps_per_epoch(examples, batch_size)
    order = jax.random.permutation(keys.order, jnp.arange(examples, dtype=jnp.int32))
    return order[: steps * batch_size].reshape(steps, batch_size)


def evaluation_batches(examples: int, batch_size: int) -> np.ndarray:
    """Batches that visit every image exactly once, in stored order, all of the same size.

    The last batch is padded with image 0, so that one compiled step serves all batches; of the concatenated
    results the first `examples` count.

    Returns:
      Indices, int32 [steps, batch_size].

    Raises:
      ValueError: `examples` or `batch_size` is below 1.
    """
    if examples < 1 or batch_size < 1:
        raise ValueError(f"{examples} images in batches of {batch_size}: allowed is 1 or more of each")
    steps = -(-examples // batch_size)
    flat = np.arange(steps * batch_size, dtype=np.int32)
    return np.where(flat < examples, flat, np.int32(0)).reshape(steps, batch_size)


def device_share(batch_size: int, devices: int, parts: int = 1) -> int:
    """How many images of a global batch, or of each of `parts` parts of it, a device takes.

    Raises:
      ValueError: they cannot be split evenly.
    """
    if devices < 1 or batch_size % (devices * parts):
        split = f"{devices} devices" + (f" in {parts} parts" if parts > 1 else "")
        product = "the device count" + (" times the parts" if parts > 1 else "")
        raise ValueError(f"batch size {batch_size} on {split}: allowed are multiples of {product}")
    return batch_size // (devices * parts)


def device_order(batches: jax.Array, parts: int, devices: int) -> jax.Array:
    """Orders global batches so that each device's slice holds its share of the first part, the second, ...

    A part then consists of the same images on any number of devices.

    Args:
      batches: int32 [steps, batch], a batch's parts one after the other.
      parts: number of parts that a batch is split into.
      devices: number of devices that share each part.

    Returns:
      int32 [steps, batch]; image j of device d's share of part k is at place (k * devices + d) * share + j
      of the batch given.

    Raises:
      ValueError: the parts cannot be split evenly.
    """
    share = device_share(batches.shape[1], devices, parts)
    return batches.reshape(-1, parts, devices, share).swapaxes(1, 2).reshape(batches.shape)


def device_slice(batch: jax.Array, device: int | jax.Array, devices: int) -> jax.Array:
    """The part of a global batch that belongs to one device; the parts in device order are the batch.

    Args:
      batch: [batch_size, ...], indices, weights or images.
      device: which one, 0 to devices - 1; may be traced (`jax.lax.axis_index`).
      devices: how many share the batch, static.

    Returns:
      [batch_size / devices, ...]. The slice starts at device * batch_size / devices, which is what
      `augment` wants as `first`.

    Raises:
      ValueError: the batch cannot be split evenly.
    """
    share = device_share(batch.shape[0], devices)
    return jax.lax.dynamic_slice_in_dim(batch, device * share, share)
