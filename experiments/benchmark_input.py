"""Times the stream of ImageNet's images and prints one JSON line a case.

    python experiments/benchmark_input.py                  # made-up images of ImageNet's sizes
    python experiments/benchmark_input.py --data-dir DIR   # the real ones

decoding: reading, decoding and cropping on one core, against Pillow decoding the same files in full.
streaming: what all workers give.  waiting: how long the steps of a network wait for the next batch.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bnnjax.cli.main import fail, main
from bnnjax.config.constraints import check
from bnnjax.config.training import ModelName
from bnnjax.runtime.exit_codes import STOPPED_BY_DATA
from bnnjax.runtime.huge_pages import restart_with_huge_pages

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What to time."""

    # Where ImageNet is prepared; left out: made-up images, for this run alone.
    data_dir: Path | None = None
    # Network that waits for images.
    model: ModelName = "resnet18_imagenet"
    # Images in a step.
    batch: int = 64
    # Processes that decode; left out: the CPU cores.
    workers: int | None = None
    # Height and width of crops.
    size: int = 224
    # Counted repeats and steps.
    repeats: int = 10

    def __post_init__(self) -> None:
        for name in ("batch", "size", "repeats"):
            check(name, getattr(self, name), "at least 1", getattr(self, name) >= 1)
        check("workers", str(self.workers), "0 or positive", self.workers is None or self.workers >= 0)


def prepare(arguments: Arguments) -> "Callable[[Console], int]":
    """Checks the data and returns the work."""
    # Here, so that --help does not wait for JAX.
    from bnnjax.benchmarks.input import make_set, time_input
    from bnnjax.data import DataError, load_imagenet
    from bnnjax.train.parallel import make_mesh

    make_mesh(arguments.batch)
    load = partial(load_imagenet, size=arguments.size, workers=arguments.workers)
    real = None if arguments.data_dir is None else load(arguments.data_dir)

    def work(console: "Console") -> int:
        with tempfile.TemporaryDirectory() as place:
            dataset = real or load(make_set(Path(place)))
            timing = time_input(
                dataset, model=arguments.model, batch=arguments.batch, repeats=arguments.repeats
            )
            try:
                for record in timing:
                    console.out(json.dumps(record), highlight=False)
            except DataError as error:
                fail(Path(__file__).name, str(error), STOPPED_BY_DATA)
        return 0

    return work


if __name__ == "__main__":
    restart_with_huge_pages()
    main(Arguments(), __doc__, prepare)
