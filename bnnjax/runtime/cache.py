"""Caches that outlive a process: where they are, and JAX's cache of compiled programs."""

import contextlib
import os
import re
import warnings
from functools import partial
from glob import escape
from pathlib import Path
from typing import Any

import jax

# JAX's warnings name a program, or a program and a hash; the names of cache files begin with both.
TROUBLE = re.compile(
    r"Error (reading|writing) persistent compilation cache entry for '(.+?)(-[0-9a-f]{64})?'"
)


def cache_directory() -> Path:
    """Returns bnnjax's directory in $XDG_CACHE_HOME, by default ~/.cache; it need not exist.

    For a user without a home directory it is one that nobody can make.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "bnnjax"
    except RuntimeError:
        return Path(os.devnull) / "bnnjax"


def use_compilation_cache() -> None:
    """Turns on JAX's persistent compilation cache in bnnjax's directory, unless JAX already has one.

    JAX does not write cache files atomically and never rewrites one: a file that a full disk or a killed
    process has left truncated is removed, in any cache, without a warning, and written again.  Where the
    cache cannot be written, none is used.
    """
    if jax.config.values["jax_compilation_cache_dir"] is None:
        ours = cache_directory() / "xla"
        try:
            ours.mkdir(parents=True, exist_ok=True)
        except OSError:
            return
        jax.config.update("jax_compilation_cache_dir", str(ours))
        if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    if getattr(warnings.showwarning, "func", None) is not _mend_or_show:  # called before
        place = Path(jax.config.values["jax_compilation_cache_dir"])
        warnings.showwarning = partial(_mend_or_show, place, warnings.showwarning)


def _mend_or_show(place: Path, show: Any, message: Warning | str, *about: Any, **more: Any) -> None:
    """Shows a warning, unless it is about the cache: then removes the files that cannot be read."""
    trouble = TROUBLE.match(str(message))
    if trouble is None:
        show(message, *about, **more)
    elif trouble[1] == "reading":
        # Which of the programs of this name is meant is not known; all of them are compiled again.
        for path in place.glob(f"{escape(trouble[2])}-*"):
            with contextlib.suppress(OSError):  # another process was first, or nobody may
                path.unlink()
