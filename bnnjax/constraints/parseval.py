"""Parseval constraint: latent kernels with orthogonal filters (Parseval tight frames)."""

import jax.numpy as jnp
from jax import Array

from bnnjax.config.constraints import ParsevalConfig
from bnnjax.constraints.base import LATENTS, Constraint, Seen, State


def _smaller_gram(matrix: Array) -> Array:
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    return gram - jnp.eye(len(gram))


def departure(latent: Array) -> Array:
    """Returns ||M^T M - I||_F^2 of a kernel as a matrix M, [fan_in, o]; [].

    With more filters than fan_in they cannot all be orthogonal: then it is ||M M^T - I||_F^2, which is
    smaller by the constant o - fan_in and has the same gradient.

    Args:
      latent: [..., i, o].
    """
    return jnp.sum(_smaller_gram(latent.reshape(-1, latent.shape[-1])) ** 2)


def retract(latent: Array, beta: float) -> Array:
    """Returns (1 + beta) M - beta M M^T M, which takes each singular value s to s (1 + beta - beta s^2).

    Repeated, they tend to 1 if s^2 < (2 + beta) / beta; above that they diverge.

    Args:
      latent: [..., i, o], as a matrix M, [fan_in, o].
      beta: in (0, 1).
    """
    matrix = latent.reshape(-1, latent.shape[-1])
    gram = _smaller_gram(matrix)
    product = matrix @ gram if len(gram) == matrix.shape[1] else gram @ matrix
    return latent - beta * product.reshape(latent.shape)


def parseval(config: ParsevalConfig) -> Constraint:
    """Orthogonal filters of unit length, in latent kernels as matrices M, [fan_in, o].

    `penalty`: strength * sum over layers of ||M^T M - I||_F^2.  The sum over layers is our reading; the
    paper's prefactor, beta / 2, is unconfirmed.  `retraction`: M <- (1 + beta) M - beta M M^T M after every
    update, on the whole of M, where the paper takes a random part.  The paper's divided outputs and its
    convex combinations in place of residual sums are left out.

    In a binarized network it acts before the sign, which preserves neither lengths nor angles: it bounds no
    norm of the network.  Orthogonal latent filters have signs that are less similar, and filters of unit
    length stay within the clip of surrogate gradients; nothing more should be expected.

    Source: Cisse et al. 2017, arXiv 1704.08847.

    Args:
      config: form, strength, beta.
    """

    def penalty(seen: Seen, state: State) -> tuple[Array, State]:
        total = sum((departure(latent) for latent in seen.latents.values()), start=jnp.zeros(()))
        return config.strength * total, state

    is_penalty = config.form == "penalty"
    return Constraint(
        name="parseval",
        needs=frozenset({LATENTS}),
        penalty=penalty if is_penalty else None,
        project_latent=None if is_penalty else lambda latent: retract(latent, config.beta),
    )
