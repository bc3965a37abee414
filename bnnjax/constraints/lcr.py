"""Lipschitz continuity retention (LCR): retention matrices pulled to those of a full-precision network."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp
from jax import Array

from bnnjax.bounds.chain import Chain, unit_names
from bnnjax.config.constraints import LCRConfig
from bnnjax.constraints.base import Constraint, Seen, State
from bnnjax.ops.retention import largest_singular_value, one_step_norm, retention_matrix
from bnnjax.ops.sign import hardtanh

STRENGTHS = {"repo": 8.0, "paper": 0.1}  # defaults
IMAGES = 10_000  # what the published code divides its loss by, and by the batch size too
EPSILON = 1e-3  # added to sigma_B, by which the paper form divides
GAINS = "lcr_gains"


def _weights(length: int, beta: float) -> list[float]:
    """Returns beta^(k - L) for the pairs k = 1, ..., L - 1 of neighbours among `length` = L."""
    return [beta ** (k - length) for k in range(1, length)]


def stage_loss(ours: Sequence[Array], theirs: Sequence[Array], beta: float) -> Array:
    """Returns sum_k beta^(k - L) mean[(sigma(RM_B^k) - sigma(RM_F^k))^2], []; see `lcr`.

    Args:
      ours: the features of the L stages, [batch, h, w, c].
      theirs: likewise of the other network; its channels may be others.
      beta: the base of the weights.
    """
    total = jnp.zeros(())
    for weight, own, other in zip(_weights(len(ours), beta), pairwise(ours), pairwise(theirs), strict=True):
        binary, real = (one_step_norm(retention_matrix(*pair)) for pair in (own, other))
        total += weight * jnp.mean((binary - real) ** 2)
    return total


def layer_loss(layers: Sequence[tuple[Array, Array]], beta: float, iterations: int) -> Array:
    """Returns sum_k mean[((sigma(RM_F^k) / (sigma(RM_B^k) + 1e-3) - 1) beta^(k - L))^2], []; see `lcr`.

    Args:
      layers: of each of the L layers its input before sign and the codes after it, [batch, h, w, c].
      beta: the base of the weights.
      iterations: power iterations to each sigma.
    """
    total = jnp.zeros(())
    for weight, (x, y) in zip(_weights(len(layers), beta), pairwise(layers), strict=True):
        real, binary = (
            largest_singular_value(retention_matrix(x[side], y[side]), iterations) for side in (0, 1)
        )
        total += jnp.mean(((real / (binary + EPSILON) - 1) * weight) ** 2)
    return total


def lcr(config: LCRConfig, chain: Chain, batch_size: int) -> Constraint:
    """Returns Lipschitz continuity retention.

    Neighbouring activations X [i, h, w] and Y [o, H, W] of an image have the retention matrix
    RM = X Y^T / (H W), with X averaged to Y's size; sigma(RM) is its spectral norm, or an estimate of it.

    repo, what the published code computes: X and Y are the outputs of the network's L stages (of a VGG: of
    the units that pool), F = ReLU(stage) of a full-precision network and B = hardtanh(stage) of this one;
    sigma is one power iteration from a vector of ones, `one_step_norm`; the penalty is

        strength / (batch * 10,000) * sum_{k=1}^{L-1} beta^(k-L) mean[(sigma(RM_B^k) - sigma(RM_F^k))^2]

    with the mean over images, the batch of all devices, strength 8 and beta 2.  The same strength thus has
    less effect at a larger batch.  We differ from the code as follows.  The full-precision network runs as at
    inference; the code leaves its batch norms in training mode, with statistics that drift.  The features are
    those of the pass that gives the logits; the code computes them in a second pass, which updates the
    running statistics of the network's batch norms a second time (`second_pass` does that, so that its cost
    can be measured).  Features of zeros give 0; the code gives NaN.  And B has no learned gains.  With
    `gains`, B = gamma_i hardtanh(stage_i) with gamma learned from 1: as RM_B^k is proportional to
    gamma_k gamma_{k+1} and the logits do not depend on gamma, gamma alone can remove the mismatch without
    changing the network.

    paper, our reading and unconfirmed, as only a figure of the paper could be read: X and Y are neighbours
    in the order of the network among its L binary layers, A_F the input of a layer before sign and A_B the
    codes after it, with the method's surrogate gradient; sigma is found by `iterations` power iterations; the
    penalty is

        strength / 2 * sum_{k=1}^{L-1} mean[((sigma(RM_F^k) / (sigma(RM_B^k) + 1e-3) - 1) beta^(k-L))^2]

    Gradients reach A_F as well.  Only sigma's derivative by RM at fixed singular vectors is used.

    Neither form bounds anything: both depend on the images and on the batch norms.

    Source: Shang et al., ECCV 2022, arXiv 2207.06540.

    Args:
      config: form, strength, beta, iterations, gains, second_pass.
      chain: the network.
      batch_size: of all devices together; the repo form divides by it.

    Raises:
      ValueError: by `validate`, if there are fewer than two stages or binary layers, or if the stages of the
        two networks differ in number or size.
    """
    strength = STRENGTHS[config.form] if config.strength is None else config.strength
    if config.form == "paper":
        return _of_layers(config, strength, chain)
    return _of_stages(config, strength, batch_size)


def _of_stages(config: LCRConfig, strength: float, batch_size: int) -> Constraint:
    """Returns the repo form, whose loss is `stage_loss` times strength / (batch * 10,000)."""

    def learned(shapes: Seen) -> Mapping[str, Array]:
        return {GAINS: jnp.ones(len(shapes.stages))}

    def penalty(seen: Seen, state: State) -> tuple[Array, State]:
        ours = [hardtanh(stage.astype(jnp.float32)) for stage in seen.stages]
        if config.gains:
            ours = [gain * stage for gain, stage in zip(seen.learned[GAINS], ours, strict=True)]
        theirs = [jax.nn.relu(stage.astype(jnp.float32)) for stage in seen.teacher]
        return strength / (batch_size * IMAGES) * stage_loss(ours, theirs, config.beta), state

    return Constraint(
        name="lcr",
        needs=frozenset({"stages", "teacher"}),
        second_pass=config.second_pass,
        validate=_check_stages,
        learned=learned if config.gains else None,
        penalty=penalty,
    )


def _check_stages(shapes: Seen) -> None:
    ours, theirs = _sizes(shapes.stages), _sizes(shapes.teacher)
    if len(ours) < 2:
        raise ValueError(f"lcr.form repo compares a network's stages with the next; this has {len(ours)}")
    if not theirs:
        raise ValueError("lcr.form repo compares with another network; none is given")
    if theirs != ours:
        raise ValueError(
            f"the network that lcr compares with has stages of {', '.join(theirs)}; "
            f"{', '.join(ours)} are needed"
        )


def _sizes(stages: Sequence[Array]) -> list[str]:
    return ["x".join(map(str, stage.shape[1:3])) for stage in stages]


def _of_layers(config: LCRConfig, strength: float, chain: Chain) -> Constraint:
    """Returns the paper form, whose loss is `layer_loss` times half the strength."""

    def layers(seen: Seen) -> list[tuple[Array, Array]]:
        return [seen.activations[name] for name in unit_names(chain) if name in seen.activations]

    def validate(shapes: Seen) -> None:
        count = len(layers(shapes))
        if count < 2:
            raise ValueError(
                f"lcr.form paper compares layers that quantize their inputs with the next; this network has "
                f"{count}"
            )

    def penalty(seen: Seen, state: State) -> tuple[Array, State]:
        return strength / 2 * layer_loss(layers(seen), config.beta, config.iterations), state

    return Constraint(name="lcr", needs=frozenset({"activations"}), validate=validate, penalty=penalty)
