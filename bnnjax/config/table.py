"""The configuration of a comparison table, from which its command line is made."""

from dataclasses import dataclass
from typing import Literal

import tyro

from bnnjax.config.constraints import ConstraintSettings
from bnnjax.config.series import SeriesConfig


@dataclass(frozen=True, kw_only=True)
class TableConfig(ConstraintSettings, SeriesConfig):
    """A comparison table: which of its rows are trained, and how.  All rows have the same recipe."""

    table: tyro.conf.Suppress[Literal["table3", "table4"]] = "table3"
    # Rows by name (resnet20-irnet-1-32-plain), topology or method; beyond: those that the original lacks;
    # all.  Left out: the original's.
    rows: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        ConstraintSettings.__post_init__(self)
        SeriesConfig.__post_init__(self)
        self.run()  # refuses the settings that a run would refuse
