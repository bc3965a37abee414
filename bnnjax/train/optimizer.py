"""The optimizer: SGD with momentum or AdamW, warm-up and decay, weight decay on kernels only."""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import optax

# Every parameter of a network has one of these names, or is below one; add a new name to one of the lists.
DECAYED = frozenset({"kernel", "latent"})
STEPS_AT = (0.3, 0.6, 0.9)  # fractions of training at which the step decay falls to a tenth
NOT_DECAYED = frozenset({"gain", "bias", "scale", "learned"})


def decay_mask(params: Any) -> Any:
    """Returns whether weight decay applies to each parameter, by its name.

    Raises:
      ValueError: for a parameter whose name is on neither list.
    """

    def decayed(path: tuple[Any, ...], _: Any) -> bool:
        names = {entry.key for entry in path}
        if not names & (DECAYED | NOT_DECAYED):
            raise ValueError(
                f"parameter {jax.tree_util.keystr(path)} is in neither DECAYED nor NOT_DECAYED; name it there"
            )
        return not names & NOT_DECAYED

    return jax.tree_util.tree_map_with_path(decayed, params)


def learning_rate_schedule(
    peak: float,
    steps: int,
    warmup_steps: int,
    restarts: Sequence[int] = (),
    decay: Literal["cosine", "linear", "steps"] = "cosine",
) -> optax.Schedule:
    """Returns the learning rate by step: linear warm-up from 0 to peak, then the decay until `steps`.

    Args:
      peak: the highest.
      steps: of the training.
      warmup_steps: of the warm-up.
      restarts: steps at which the schedule restarts; each part between two has a schedule of its own.
      decay: a cosine or a line down to 0, or a factor of 1/10 at each of STEPS_AT.

    Raises:
      ValueError: if the warm-up is as long as the training, or as a part between restarts.
    """
    lengths = [end - begin for begin, end in zip([0, *restarts], [*restarts, steps], strict=True)]
    if warmup_steps >= min(lengths):
        whole = "shortest stage" if restarts else "training"
        raise ValueError(
            f"a warm-up of {warmup_steps} steps must be shorter than the {whole}'s {min(lengths)}"
        )

    def falling(length: int) -> optax.Schedule:
        if decay == "cosine":
            return optax.cosine_decay_schedule(peak, length - warmup_steps)
        if decay == "linear":
            return optax.linear_schedule(peak, 0.0, length - warmup_steps)
        ends = {max(round(share * length) - warmup_steps, 0): 0.1 for share in STEPS_AT}
        return optax.piecewise_constant_schedule(peak, ends)

    def part(length: int) -> optax.Schedule:
        if warmup_steps == 0:
            return falling(length)
        rising = optax.linear_schedule(0.0, peak, warmup_steps)
        return optax.join_schedules([rising, falling(length)], [warmup_steps])

    return optax.join_schedules([part(length) for length in lengths], list(restarts))


def make_optimizer(
    name: Literal["sgd", "adamw"],
    learning_rate: optax.Schedule,
    weight_decay: float,
    momentum: float,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """Returns the optimizer.

    SGD adds weight_decay * w to the gradient, before the momentum (as PyTorch does and published recipes
    mean); AdamW decouples the decay from the gradient.
    """
    if name == "adamw":
        return optax.adamw(learning_rate, weight_decay=weight_decay, mask=decay_mask)
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=decay_mask),
        optax.sgd(learning_rate, momentum=momentum, nesterov=nesterov),
    )
