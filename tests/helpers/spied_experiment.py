"""The tiny experiment, writing down which images its processes train on: a line an image, as augmented."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tiny_experiment import DEFAULTS, stand_in

import bnnjax.runs.train
from bnnjax.cli.main import main, prepare_run
from bnnjax.runs.setup import Setup, make_setup


def note(images: jax.Array) -> None:
    # Whole, because a part would be computed on the device, which waits for this.
    digests = [hashlib.sha256(image.tobytes()).hexdigest() for image in np.asarray(images)]
    with open(Path(os.environ["SEEN"], f"{jax.process_index()}.txt"), "a") as file:
        file.write("".join(f"{digest}\n" for digest in digests))


def make_spied(*arguments: Any) -> Setup:
    setup = make_setup(*arguments)

    def forward(params: Any, batch_stats: Any, images: jax.Array, given: Any, train: bool) -> Any:
        if train:
            jax.debug.callback(note, images)
        return setup.task.forward(params, batch_stats, images, given, train)

    return setup._replace(task=replace(setup.task, forward=forward))


if __name__ == "__main__":
    stand_in()
    bnnjax.runs.train.make_setup = make_spied
    main(DEFAULTS, __doc__, prepare_run)
