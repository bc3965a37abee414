"""Functions that XLA's CPU backend compiles separately from the code around them.

That backend copies every cheap elementwise operation into each of its consumers.  In a residual network it
thus recomputes the chain of activations, back to the first block, inside the layout transposes of every
weight gradient.  `lax.optimization_barrier` does not help with jax 0.10, which drops it before fusion.  A
call that is marked as not inlineable keeps its boundary: its arguments and results are real arrays.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.xla_metadata import set_xla_metadata


def outlined(function: Callable[..., Any], static_argnums: tuple[int, ...] = ()) -> Callable[..., Any]:
    """Returns `function`, compiled separately from its callers on CPU, unchanged on other backends.

    Outline functions that compute something: one that returns its operand copies it.  Convolutions inside
    must have NHWC images and HWIO kernels: for other layouts the backend finds its fast kernels in the
    outermost computation only, and falls back to scalar loops elsewhere.

    Args:
      function: of arrays; one object per call site, so that it is traced once.
      static_argnums: positions of the arguments that are not arrays.
    """

    @functools.partial(jax.jit, static_argnums=static_argnums)
    @functools.wraps(function)
    def body(*arguments: Any) -> Any:
        with set_xla_metadata(inlineable="true"):  # the mark is this call's alone, not that of calls inside
            return function(*arguments)

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        if jax.default_backend() != "cpu":
            return function(*arguments)
        with set_xla_metadata(inlineable="false"):
            return body(*arguments)

    return call


@functools.cache
def outlined_with(function: Callable[..., Any], *constants: Any) -> Callable[..., Any]:
    """Returns `function` with its first arguments bound, outlined; the same object for the same constants."""
    return outlined(functools.partial(function, *constants))
