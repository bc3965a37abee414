"""Where what can be made again is kept between runs."""

import os
from pathlib import Path

import jax


def cache_directory() -> Path:
    """Returns bnnjax's place below $XDG_CACHE_HOME, by default ~/.cache; it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bnnjax"


def use_compilation_cache() -> None:
    """Turns on JAX's persistent compilation cache in bnnjax's place, unless JAX has one."""
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_directory() / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
