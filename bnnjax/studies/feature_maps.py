"""Maps of where noise changes the feature maps of a trained network."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bnnjax.data import Dataset, evaluation_batches
from bnnjax.models.network import Network
from bnnjax.nn.layers import ACTIVATIONS, INPUTS
from bnnjax.runs.saved import Trained
from bnnjax.train.step import Normalization
from bnnjax.types import Tree

BATCH = 100  # images per forward pass, both clean and noisy


class Change(NamedTuple):
    """Sums over images of how noise changes the input of one layer."""

    difference: Array  # [h, w], |noisy - clean|, mean over channels
    clean: Array  # [], |clean|, mean over channels and positions
    flips: Array | None  # [], share of the codes that differ; None if nothing is quantized


def change(clean: Array, noisy: Array, codes: tuple[Array, Array] | None, weights: Array) -> Change:
    """Returns the sums of |noisy - clean|, of |clean| and of the shares of codes that flip.

    Args:
      clean: a layer's inputs, [batch, h, w, c], or for a dense layer [batch, c], one position.
      noisy: its inputs for the same images with noise.
      codes: the codes of both, of the same shape; None if they are not quantized.
      weights: [batch], 1 for images that count and 0 for others.
    """
    if clean.ndim == 2:
        clean, noisy = clean[:, None, None], noisy[:, None, None]
    wide = jnp.float32
    difference = jnp.abs(noisy.astype(wide) - clean.astype(wide)).mean(-1)
    own = jnp.abs(clean.astype(wide)).mean((1, 2, 3))
    flips = None
    if codes is not None:
        differ = (codes[0] != codes[1]).reshape(len(weights), -1)
        flips = weights @ differ.mean(-1, dtype=wide)
    return Change(jnp.einsum("b,bhw->hw", weights, difference), weights @ own, flips)


def study_features(
    trained: Trained,
    dataset: Dataset,
    clean: np.ndarray,
    noisy: np.ndarray,
    *,
    label: str,
    corruption: str,
    severity: int,
    batch_size: int = BATCH,
) -> dict[str, Any]:
    """Returns where noise changes the inputs of the layers of a trained network, before they are quantized.

    Differences are the mean |x' - x| over images and channels at each position, x of the clean image and x'
    of the noisy one; relative differences divide by the unit's mean |x|, since a network that shrinks all its
    activations changes less without being more robust.  Units are those that quantize their inputs; in a
    network without any, all.

    Args:
      trained: the network.
      dataset: the one that `trained` was read with; its mean and deviation normalize the images.
      clean: images, uint8 [n, h, w, c].
      noisy: the same images with noise, of the same shape.
      label: name of the run.
      corruption: the name of the noise.
      severity: of the noise.
      batch_size: images per forward pass.

    Returns:
      A record with `run`, `label`, `corruption`, `severity`, `images` (how many), and for each of `units`
      `difference` and `relative_difference`, [h][w], and `flips_percent`, the share of codes that change
      (None in a network that quantizes no activations).  The relative one is None where all inputs are 0.

    Raises:
      ValueError: the images differ in shape, are not uint8, or are none; or the batch size is below 1.
    """
    for name, images in (("clean", clean), ("noisy", noisy)):
        if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
            raise ValueError(f"{name} images must be uint8 [n, h, w, c], got {images.dtype} {images.shape}")
    if clean.shape != noisy.shape:
        raise ValueError(f"clean and noisy images differ in shape: {clean.shape} and {noisy.shape}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    network, arrays = trained.network, (trained.params, trained.batch_stats)
    collection = ACTIVATIONS if network.method.abits < 32 else INPUTS

    layers = partial(_layers, network, Normalization(dataset.mean, dataset.std, jnp.float32), collection)

    @jax.jit
    def measure(arrays: tuple[Tree, Tree], both: Array, weights: Array) -> dict[str, Change]:
        before, after = layers(arrays, both[0]), layers(arrays, both[1])
        return {
            name: change(x, after[name][0], None if own is None else (own, after[name][1]), weights)
            for name, (x, own) in before.items()
        }

    batch_size = min(batch_size, len(clean))
    total: dict[str, Any] = {}
    for places in evaluation_batches(len(clean), batch_size):
        both = np.stack([clean[places], noisy[places]])
        # Padding of the last batch does not count.
        weights = np.float32(places[0] + np.arange(batch_size) < len(clean))
        # Batches are summed in double precision, so that their number does not matter.
        found = jax.tree.map(np.float64, jax.device_get(measure(arrays, both, weights)))
        total = jax.tree.map(np.add, total, found) if total else found
    return {
        "run": str(trained.place),
        "label": label,
        "corruption": corruption,
        "severity": severity,
        "images": len(clean),
        "units": {name: _summary(own, len(clean)) for name, own in total.items()},
    }


def _layers(
    network: Network, normalization: Normalization, collection: str, arrays: tuple[Tree, Tree], images: Array
) -> Mapping[str, Any]:
    """Returns the input and the codes of each layer; codes are None in a network without any."""
    params, batch_stats = arrays
    found = network.infer(params, batch_stats, normalization(images), (collection,))[1].more[collection]
    return found if collection == ACTIVATIONS else {name: (x, None) for name, x in found.items()}


def _summary(total: Change, images: int) -> dict[str, Any]:
    difference, clean = np.asarray(total.difference) / images, float(total.clean) / images
    return {
        "difference": difference.tolist(),
        "relative_difference": (difference / clean).tolist() if clean > 0 else None,
        "flips_percent": None if total.flips is None else 100 * float(total.flips) / images,
    }
