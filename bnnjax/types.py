"""Types and names that all parts of the package share."""

from typing import Any

Tree = Any  # nested dicts of arrays
AXIS = "data"  # the mapped axis: each device has its share of a batch
