"""The input-gradient penalty: the squared Jacobian of the logits by the input."""

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.config.constraints import GradPenaltyConfig
from bnnjax.constraints.base import INPUT_GRADIENT, Constraint, InputGradient, Seen, State


def squared_jacobian(gradient: InputGradient, projections: int) -> Array:
    """Estimates the mean over images of ||J||_F^2, J = d logits / d image, []; without bias.

    For v uniform on the unit sphere of C dimensions E |v^T J|^2 = ||J||_F^2 / C, so this is C |v^T J|^2,
    averaged over images and over v, drawn for each image.  Where batch norms make the images depend on each
    other, J includes the logits of all images: it counts an image's effect on its own and on the others.

    Args:
      gradient: of this step.
      projections: number of v per image.
    """
    classes = gradient.logits.shape[-1]
    total = jnp.zeros(())
    for n in range(projections):
        draw = jax.vmap(lambda key, n=n: jax.random.normal(jax.random.fold_in(key, n), (classes,)))
        v = draw(gradient.keys)
        pulled = gradient.pull((v / jnp.linalg.norm(v, axis=-1, keepdims=True)).astype(gradient.logits.dtype))
        total += jnp.sum(pulled.astype(jnp.float32) ** 2)
    return classes * total / (projections * len(gradient.keys))


def gradpenalty(config: GradPenaltyConfig) -> Constraint:
    """The penalty strength * mean over images of ||d logits / d image||_F^2, by random projections.

    strength is half of the paper's lambda.  In a binarized network the Jacobian is taken through the
    surrogate gradients of its signs, which are differentiated again where they have a slope.  Images are
    normalized.  A step costs a second backward pass for each projection, and the gradient through it.

    Source: Hoffman, Roberts & Yaida 2019, Robust Learning with Jacobian Regularization, arXiv 1908.02729.

    Args:
      config: strength, projections.
    """

    def penalty(seen: Seen, state: State) -> tuple[Array, State]:
        if seen.input_gradient is None:
            raise ValueError("constraint gradpenalty is shown no gradient by the input")
        return config.strength * squared_jacobian(seen.input_gradient, config.projections), state

    return Constraint(name="gradpenalty", needs=frozenset({INPUT_GRADIENT}), penalty=penalty)
