"""The configuration of a run with nothing left out, as its config.json records it."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from bnnjax.config.names import Kernels, MethodName, Optimizer, Structure
from bnnjax.config.recipe import Recipe
from bnnjax.config.training import Config


# `field()`, as a dataclass would take the None that `Config` has for the default.
@dataclass(frozen=True, kw_only=True)
class ResolvedConfig(Config):
    """What `runs.resolve.resolve` makes of a `Config`; None is left only where it says that there is none."""

    common: Recipe = field()  # that all methods are compared under on the data set
    method: MethodName = field()  # not another spelling
    wbits: int = field()
    abits: int = field()
    structure: Structure = field()
    optimizer: Optimizer = field()
    learning_rate: float = field()
    weight_decay: float = field()
    batch_size: int = field()
    epochs: int = field()
    workdir: Path = field()
    kernels: Kernels = "xla"  # those of runs that are older than the choice

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate at its peak, scaled with the batch size where there is a base_batch_size."""
        if self.base_batch_size is None:
            return self.learning_rate
        ratio = self.batch_size / self.base_batch_size
        return self.learning_rate * (ratio if self.scale_learning_rate == "linear" else math.sqrt(ratio))
