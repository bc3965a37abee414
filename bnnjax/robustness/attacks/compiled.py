"""Attacks compiled once for all networks of one make, whose arrays are traced."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
from jax.tree_util import Partial

from bnnjax.robustness.attacks.best import Attacked


def traced(function: Callable[..., Any]) -> Partial:
    """Returns a function as a pytree: a Partial's arrays are its leaves, any other function has none."""
    return function if isinstance(function, Partial) else Partial(function)


def compiled(*static: str) -> Callable[[Callable[..., Attacked]], Callable[..., Attacked]]:
    """Returns a decorator that compiles an attack, its network and its loss as `traced` functions.

    As constants of the program, the arrays of every network would ask for a compilation of their own, which
    takes longer than the attack on a small network.

    Args:
      static: the names of those settings that are no arrays and no loss.
    """

    def decorate(attack: Callable[..., Attacked]) -> Callable[..., Attacked]:
        program = jax.jit(attack, static_argnames=static)

        @wraps(attack)
        def call(logits_of: Callable[..., Any], *given: Any, **settings: Any) -> Attacked:
            if "loss" in settings:
                settings["loss"] = traced(settings["loss"])
            return program(traced(logits_of), *given, **settings)

        return call

    return decorate
