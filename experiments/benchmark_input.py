"""Times the stream of ImageNet's images and prints one JSON line a case.

    python experiments/benchmark_input.py                  # made-up images of ImageNet's sizes
    python experiments/benchmark_input.py --data-dir DIR   # the real ones

decoding: reading, decoding and cropping on one core, against Pillow decoding the same files in full.
streaming: what all workers give.  waiting: how long the steps of a network wait for the next batch.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import tyro

from bnnjax.config import ModelName
from bnnjax.huge_pages import restart_with_huge_pages


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


def main(arguments: Arguments) -> None:
    """Times what the arguments ask for."""
    from bnnjax.input_benchmark import make_set, time_input

    with tempfile.TemporaryDirectory() as place:
        data_dir = arguments.data_dir or make_set(Path(place))
        for record in time_input(
            data_dir,
            model=arguments.model,
            batch=arguments.batch,
            workers=arguments.workers,
            size=arguments.size,
            repeats=arguments.repeats,
        ):
            print(json.dumps(record), flush=True)


if __name__ == "__main__":
    restart_with_huge_pages()
    main(tyro.cli(Arguments, description=__doc__))
