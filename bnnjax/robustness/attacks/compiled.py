"""Attacks compiled with the arrays of the network as arguments."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
from jax.tree_util import Partial

from bnnjax.robustness.attacks.best import Attacked, LogitsOf
from bnnjax.robustness.attacks.target import Target


def compiled(*static: str) -> Callable[[Callable[..., Attacked]], Callable[..., Attacked]]:
    """Returns a decorator that compiles an attack, for a Target or for any other function.

    The arrays of a Target and of a loss that is a `jax.tree_util.Partial` are arguments of the program, so
    that networks of one architecture share it.

    Args:
      static: the names of those settings that are no arrays and no loss.
    """

    def decorate(attack: Callable[..., Attacked]) -> Callable[..., Attacked]:
        program = jax.jit(attack, static_argnames=static)

        @wraps(attack)
        def call(logits_of: LogitsOf, *given: Any, **settings: Any) -> Attacked:
            target = logits_of if isinstance(logits_of, Target) else Target(logits_of)
            loss = settings.get("loss")
            if loss is not None and not isinstance(loss, Partial):
                settings["loss"] = Partial(loss)
            return program(target, *given, **settings)

        return call

    return decorate
