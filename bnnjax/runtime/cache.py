"""Where what can be made again is kept between runs."""

import contextlib
import os
import re
import warnings
from functools import partial
from glob import escape
from pathlib import Path
from typing import Any

import jax

# JAX's warnings, of a program's name or of that and a hash; a file begins with both.
TROUBLE = re.compile(
    r"Error (reading|writing) persistent compilation cache entry for '(.+?)(-[0-9a-f]{64})?'"
)


def cache_directory() -> Path:
    """Returns bnnjax's place below $XDG_CACHE_HOME, by default ~/.cache; it need not exist.

    For a user without a home directory it is one that nobody can make.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "bnnjax"
    except RuntimeError:
        return Path(os.devnull) / "bnnjax"


def use_compilation_cache() -> None:
    """Turns on JAX's persistent compilation cache in bnnjax's place, unless JAX has one.

    JAX does not write files whole or not at all, nor ever again: what a full disk or a killed process left of
    one it cannot read is removed, in any cache, so that it is written once more, and nobody is told.  Where
    the cache cannot be written, there is none.
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
    """Shows a warning, unless it is of the cache: then makes room for what should be there."""
    trouble = TROUBLE.match(str(message))
    if trouble is None:
        show(message, *about, **more)
    elif trouble[1] == "reading":
        # Of several programs of this name it is not known which; they are compiled again.
        for path in place.glob(f"{escape(trouble[2])}-*"):
            with contextlib.suppress(OSError):  # another process was first, or nobody may
                path.unlink()
