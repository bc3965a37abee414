"""What the functions of a method are given, in a layer made for them or in one of a network."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bnnjax.methods import Method, Site
from bnnjax.methods.base import LearnedActivation


def values_of(method: Method, latent: Any, progress: float = 0.4, training: bool = True) -> dict[str, Any]:
    """Returns the values that a quantizer of a fresh layer with this latent kernel is given."""
    site = Site(jnp.asarray(latent, jnp.float32), (8, 8, latent.shape[-1]))
    arrays = {
        name: initial(jax.random.key(n), site)
        for n, (name, initial) in enumerate([*method.learned.items(), *method.memory.items()])
    }
    return {**schedule_of(method, progress, training), **arrays}


def schedule_of(method: Method, progress: float = 0.4, training: bool = True) -> dict[str, Any]:
    """Returns what a network is given as its schedule."""
    moment = {"key": jax.random.key(9), "epoch_begins": jnp.bool_(True)} if training else {}
    return {**method.schedule(jnp.float32(progress)), **moment}


def nonlinearity_of(method: Method) -> Callable[[Any], Any]:
    """Returns the method's nonlinearity, a learned one as it begins."""
    kind = method.nonlinearity
    if not isinstance(kind, LearnedActivation):
        return kind
    return lambda x: kind.apply(
        x, {name: jnp.asarray(value, x.dtype) for name, value in kind.learned.items()}
    )


def kept_by(layer: dict[str, Any], batch_stats: dict[str, Any]) -> dict[str, Any]:
    """Returns what a layer with these parameters and batch statistics learned and remembers."""
    return {**layer.get("learned", {}), **batch_stats.get("memory", {})}
