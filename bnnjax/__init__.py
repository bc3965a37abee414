"""bnnjax: training of binarized neural networks that stay accurate when their inputs are noisy.

Importing the package is light; JAX is imported by the submodules that compute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from bnnjax.runs.inference import TrainedNetwork

__version__ = "0.1.0"


def load(run: str | Path, data_dir: str | Path | None = None) -> TrainedNetwork:
    """Returns the best network of a run, finished or not, as a function from images to logits.

    Args:
      run: the run's directory.
      data_dir: of the data set, which runs of earlier versions need, if it has moved.

    Raises:
      ValueError: there is no network that can be read.
    """
    from pathlib import Path

    from bnnjax.runs.inference import load_network

    return load_network(Path(run), None if data_dir is None else Path(data_dir))
