"""JAX's settings that change what is computed, which are the same in every command."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

# By their names in jax.config; in capitals they are environment variables.
SETTINGS: dict[str, Any] = {
    "jax_enable_x64": False,
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
    "jax_enable_custom_prng": False,
    "jax_high_dynamic_range_gumbel": False,
    "jax_default_matmul_precision": None,
    "jax_allow_f16_reductions": True,
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    "jax_softmax_custom_jvp": False,
    "jax_disable_jit": False,
}


def in_force() -> dict[str, Any]:
    """Returns the settings as they are in this process, for records."""
    import jax

    found = {name: getattr(jax.config, name, default) for name, default in SETTINGS.items()}
    return {name: value.value if isinstance(value, Enum) else value for name, value in found.items()}


def check_environment(environment: Mapping[str, str]) -> None:
    """Refuses an environment that gives one of the settings another value.

    JAX is imported only if it names one at all; to be called before anything else imports it.

    Raises:
      ValueError: naming the variable, or as JAX does for a value that it does not know.
    """
    given = [name for name in SETTINGS if name.upper() in environment]
    if not given:
        return
    now = in_force()
    for name in given:
        if now[name] != SETTINGS[name]:
            raise ValueError(
                f"{name.upper()} is {environment[name.upper()]} in the environment, which changes results; "
                "unset it"
            )


def first_other(before: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Returns the first setting that was another when a record was made, its value then and now, or None."""
    now = in_force()
    others = ((name, before[name], now[name]) for name in now if name in before and before[name] != now[name])
    return next(others, None)
