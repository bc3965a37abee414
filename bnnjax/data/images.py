"""The two forms that images come in: grey levels, as they are stored, and floats, as they are attacked."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bnnjax.runtime.inputs import require_finite


def require_grey_levels(images: Any, shape: tuple[int, ...] | None = None) -> None:
    """Refuses what is not uint8 [batch, h, w, c], with (h, w, c) of this shape if one is given.

    Raises:
      ValueError: naming type and shape.
    """
    is_grey = getattr(images, "dtype", None) == np.uint8 and images.ndim == 4
    if not is_grey or shape not in (None, images.shape[1:]):
        needed = ", ".join(map(str, shape or "hwc"))
        raise ValueError(f"images must be uint8 [batch, {needed}]; got {_form(images)}")


def require_unit_floats(images: Any) -> None:
    """Refuses what is not floats in [0, 1], [batch, h, w, c]; of traced images no entry is known.

    Raises:
      ValueError: naming type and shape, or an entry that is out of range, with its place if it is no number.
    """
    if not hasattr(images, "dtype") or images.ndim != 4 or not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"images must be floats in [0, 1], [batch, h, w, c]; got {_form(images)}")
    require_finite("images", images)
    if not isinstance(images, jax.core.Tracer):
        low, high = (float(extreme(np.asarray(images), initial=0)) for extreme in (np.min, np.max))
        if low < 0 or high > 1:
            raise ValueError(f"images must be floats in [0, 1]; got {low if low < 0 else high:g}")


def _form(images: Any) -> str:
    if hasattr(images, "dtype"):
        return f"{images.dtype} {list(images.shape)}"
    return f"a {type(images).__name__}"
