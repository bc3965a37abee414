"""Checks of settings: each refuses a value with a sentence that says what is allowed."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

NOT_NEGATIVE = "0 or positive, and finite"


def check(name: str, value: float | str, allowed: str, holds: bool) -> None:
    """Refuses a value.

    Raises:
      ValueError: unless it holds, with the value and what is allowed.
    """
    if not holds:
        raise ValueError(f"{name} must be {allowed}; got {value}")


def refuse_idle(settings: Any, names: Iterable[str], purpose: str, chosen: str, prefix: str = "") -> None:
    """Refuses settings that would have no effect, since something else is chosen than what they are for.

    Args:
      settings: a configuration.
      names: of its settings that have no effect.
      purpose: what they are for.
      chosen: what is chosen instead.
      prefix: of the names in the sentence.

    Raises:
      ValueError: if one of them has another value than its default.
    """
    for name in names:
        value = getattr(settings, name)
        if value != getattr(type(settings), name):
            raise ValueError(f"{prefix}{name} is for {purpose}; got {value} with {chosen}")


def check_form(name: str, settings: Any, own: Mapping[str, tuple[str, ...]]) -> None:
    """Refuses settings of another form of a constraint than the one that is chosen.

    Args:
      name: of the constraint.
      settings: of it, with a `form`.
      own: by forms, as "a, b or c", the settings that they alone have.

    Raises:
      ValueError: as `refuse_idle`.
    """
    for forms, names in own.items():
        if settings.form not in re.split(", | or ", forms):
            refuse_idle(settings, names, f"{name}.form {forms}", settings.form, prefix=f"{name}.")
