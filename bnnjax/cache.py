"""Where what can be made again is kept between runs."""

import os
from pathlib import Path


def cache_directory() -> Path:
    """Returns bnnjax's place below $XDG_CACHE_HOME, by default ~/.cache; it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bnnjax"
