"""Compilation of attacks, with the arrays of the network as arguments."""

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any

import jax
from jax import Array
from jax.tree_util import Partial

from bnnjax.data.images import require_unit_floats
from bnnjax.robustness.attacks.best import Attacked, LogitsOf
from bnnjax.robustness.attacks.target import Target

Attack = Callable[..., Attacked]


class CompiledAttack:
    """An attack as one program, for a Target or for any other function."""

    def __init__(self, static: tuple[str, ...], attack: Attack) -> None:
        self.program = jax.jit(attack, static_argnames=static)
        update_wrapper(self, attack)

    def __call__(
        self, logits_of: LogitsOf, key: Array, images: Array, *given: Any, **settings: Any
    ) -> Attacked:
        require_unit_floats(images)
        target = logits_of if isinstance(logits_of, Target) else Target(logits_of)
        loss = settings.get("loss")
        if loss is not None and not isinstance(loss, Partial):
            settings["loss"] = Partial(loss)
        return self.program(target, key, images, *given, **settings)


def compiled(*static: str) -> Callable[[Attack], Attack]:
    """Returns a decorator that compiles an attack.

    The arrays of a Target and of a loss that is a `jax.tree_util.Partial` are arguments of the program, so
    that networks of one architecture share it.

    Args:
      static: the names of the settings that are neither arrays nor a loss.
    """
    return partial(CompiledAttack, static)
