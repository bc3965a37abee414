"""Numbers that a function is given and cannot use."""

from typing import Any

import jax
import numpy as np


def require_finite(what: str, x: Any) -> None:
    """Refuses an array with an entry that is no finite number; under a transformation nothing is known of it.

    Raises:
      ValueError: naming the first such entry and its place.
    """
    if isinstance(x, jax.core.Tracer):
        return
    array = np.asarray(x)
    bad = ~np.isfinite(array)
    if bad.any():
        place = tuple(map(int, np.unravel_index(np.argmax(bad), bad.shape)))
        raise ValueError(f"{what} must be finite; {what}{list(place)} is {array[place]}")
