"""Arguments for the functions of a method, of a single layer or of a layer in a network."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bnnjax.methods import Context, Method, Site, Training
from bnnjax.methods.base import LearnedActivation


def context_of(method: Method, latent: Any, progress: float = 0.4, training: bool = True) -> Context:
    """Returns the context of a quantizer in a new layer with this latent kernel."""
    site = Site(jnp.asarray(latent, jnp.float32), (8, 8, latent.shape[-1]))
    arrays = {
        name: initial(jax.random.key(n), site)
        for n, (name, initial) in enumerate([*method.learned.items(), *method.memory.items()])
    }
    return network_context(method, progress, training)._replace(
        learned={name: arrays[name] for name in method.learned},
        memory={name: arrays[name] for name in method.memory},
    )


def network_context(method: Method, progress: float = 0.4, training: bool = True) -> Context:
    """Returns the context of a network."""
    return Context(
        method.schedule(jnp.float32(progress)),
        training=Training(jax.random.key(9), jnp.bool_(True)) if training else None,
    )


def nonlinearity_of(method: Method) -> Callable[[Any], Any]:
    """Returns the method's nonlinearity, with initial parameters if it is learned."""
    kind = method.nonlinearity
    if not isinstance(kind, LearnedActivation):
        return kind
    return lambda x: kind.apply(
        x, {name: jnp.asarray(value, x.dtype) for name, value in kind.learned.items()}
    )


def in_layer(context: Context, layer: dict[str, Any], batch_stats: dict[str, Any]) -> Context:
    """Returns a network's context within the layer that has these parameters and batch statistics."""
    return context._replace(learned=layer.get("learned", {}), memory=batch_stats.get("memory", {}))
