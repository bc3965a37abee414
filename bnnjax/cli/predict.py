"""`bnnjax predict`: what a trained network sees in pictures."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from bnnjax.cli.main import Experiment, Work
from bnnjax.config.checks import check
from bnnjax.config.names import Fit
from bnnjax.runtime.console import say

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from bnnjax.runs.inference import TrainedNetwork


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The network, the pictures, and how the answer is given."""

    # The directory of a run, finished or not.
    run: tyro.conf.Positional[Path | None] = None
    # Files of pictures, of any size and format.
    pictures: tyro.conf.Positional[tuple[Path, ...]] = ()
    # How many of the likeliest classes are named.
    top: int = 3
    # How a picture becomes a square: by its middle, by black borders, or distorted.  ImageNet's networks see
    # the middle as in its test.
    fit: Fit = "crop"
    # Print a JSON line for each picture.
    json: bool = False

    def __post_init__(self) -> None:
        check("top", self.top, "at least 1", self.top >= 1)


def prepare(arguments: Arguments) -> Work:
    """Reads the network and the pictures and returns the work."""
    # Here, so that --help does not wait for JAX.
    from bnnjax.runs.inference import load_network
    from bnnjax.runs.pictures import read_pictures

    if arguments.run is None or not arguments.pictures:
        raise ValueError("name the directory of a run and then pictures")
    network = load_network(arguments.run)
    images = read_pictures(network, arguments.pictures, arguments.fit)
    return partial(_answer, arguments, network, images)


def _answer(arguments: Arguments, network: "TrainedNetwork", images: "np.ndarray", console: "Console") -> int:
    from bnnjax.runs.pictures import answers

    for answer in answers(network, arguments.pictures, images, arguments.top):
        if arguments.json:
            console.out(
                json.dumps({"picture": str(answer.picture), "classes": answer.likeliest}), highlight=False
            )
        else:
            shares = ", ".join(f"{name} {share:.1%}" for name, share in answer.likeliest.items())
            say(console, f"{answer.picture}: {shares}")
    return 0


EXPERIMENT = Experiment(
    description="""Says what a trained network sees in pictures: the likeliest classes, with probabilities.

    bnnjax predict runs/pets-resnet20-irnet-l1inf-seed0 cat.jpg dog.png
    bnnjax predict RUN *.jpg --json

Pictures are brought to the size of the images that the network was trained on, and to their colours: grey if
those are.
""",
    defaults=Arguments(),
    prepare=prepare,
)
run = EXPERIMENT.run
