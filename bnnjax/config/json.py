"""Configurations as JSON, and that of a run back from its config.json."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from bnnjax.config.resolved import ResolvedConfig


def to_json(config: object) -> Any:
    """Returns the configuration as JSON gives it back: dicts, lists, absolute paths as text."""
    if dataclasses.is_dataclass(config):
        return {f.name: to_json(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, tuple):
        return list(config)
    return str(config.absolute()) if isinstance(config, Path) else config


def from_json(tree: Mapping[str, Any]) -> ResolvedConfig:
    """Returns the configuration that `to_json` made this of; what is missing gets its default.

    Raises:
      ValueError: if there is a field that no configuration has, or a value is None or out of its range.
      TypeError: if something is missing that has no default.
    """
    return _from_json(ResolvedConfig, tree)


def _from_json(kind: Any, tree: Mapping[str, Any]) -> Any:
    hints = get_type_hints(kind)
    values = {}
    for name, value in tree.items():
        if name not in hints:
            raise ValueError(f"{kind.__name__} has no field {name}")
        if value is None and NoneType not in get_args(hints[name]):
            raise ValueError(f"{kind.__name__} needs {name}; got None")
        if dataclasses.is_dataclass(hints[name]):
            value = _from_json(hints[name], value)
        elif value is not None and Path in (hints[name], *get_args(hints[name])):
            value = Path(value)
        elif isinstance(value, list):
            value = tuple(value)
        values[name] = value
    return kind(**values)
