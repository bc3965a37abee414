"""`bnnjax train`: trains one network on one data set."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from bnnjax.cli.main import Experiment, Work
from bnnjax.cli.refusal import choose, fail
from bnnjax.config.presets import defaults_for, expectation
from bnnjax.config.small_sets import SMALL_SETS, SmallSet
from bnnjax.config.training import Config
from bnnjax.runtime.console import say

if TYPE_CHECKING:
    from rich.console import Console

IMAGENET = "imagenet2012"  # in TFDS
DESCRIPTIONS = {
    "cifar10": """Trains a binarized network on CIFAR-10.

    bnnjax train cifar10 --constraint=l1inf
    bnnjax train cifar10 --data-dir=DIR --method=xnor --epochs=8

The recipe is IR-Net's: SGD 0.1 with momentum 0.9, weight decay 1e-4, batches of 128, cosine, 400 epochs,
random crops and flips.
""",
    "digits": """Trains a binarized network on the handwritten digits of scikit-learn; nothing is downloaded.

    bnnjax train digits --constraint=l1inf

About two minutes on two CPU cores; 95 to 97 % test accuracy with l1inf, by seed and machine.
""",
    "imagenet": """Trains a binarized network on ImageNet.

    bnnjax prepare imagenet2012 --from DIR --data-dir DIR
    bnnjax train imagenet --data-dir DIR --constraint=l1inf
    bnnjax train imagenet --data-dir DIR --preset reactnet --model resnet34 --precision bfloat16

The first command prepares the official tar files, once.  Random crops and flips; 10,000 of the training
images are held out to choose the epoch, the 50,000 validation images are the test.  The recipe is SGD 0.1,
batches of 256, cosine, 100 epochs, or that of a --preset; bnnjax/config/presets.py has their sources.
""",
}
OTHER = """Trains a binarized network on {dataset}, a prepared data set of small images.

    bnnjax prepare folder --from DIR --name {dataset}
    bnnjax train {dataset} --geometry crop+flip --constraint=l1inf

The first command makes it of your own pictures; one of TFDS is taken from --data-dir.  Without a validation
split a tenth of the training images is held out.  The recipe is that of cifar10, without --geometry no image
is cropped or mirrored.
"""


def _of_small(name: str, known: SmallSet) -> str:
    """Returns the description of training on one of SMALL_SETS."""
    size, classes = "x".join(map(str, known.shape)), len(known.class_names)
    varied = "crops and flips" if known.flip else "crops, no flips"
    return f"""Trains a binarized network on {known.title}, {known.shows}.

    bnnjax train {name} --constraint=l1inf

{known.train:,} images of {size} for training and {known.test:,} for the test, in {classes} classes; they
are downloaded once, or taken from --data-dir where TFDS has prepared them.  A tenth of the training images is
held out.  Random {varied}.  The recipe is that of cifar10.
"""


DESCRIPTIONS |= {name: _of_small(name, known) for name, known in SMALL_SETS.items()}


def _announce(sentence: str, work: Work, console: "Console") -> int:
    say(console, sentence)
    return work(console)


def _print_raw(text: str, console: "Console") -> int:
    console.out(text, end="", highlight=False)
    return 0


def prepare_run(config: Config) -> Work:
    """Checks a training run and returns its work, which first prints a preset's published accuracy."""
    if config.print_launch is not None:
        from bnnjax.cli.launch import launch_script

        script = launch_script(config.print_launch, config, sys.argv, Path.cwd())
        return partial(_print_raw, script)
    work = _prepare_work(config)
    if config.preset is None:
        return work
    return partial(_announce, expectation(config.preset, config.model), work)


def _prepare_work(config: Config) -> Work:
    if config.is_distributed:
        from bnnjax.runs.distributed import prepare_together

        return prepare_together(config)
    from bnnjax.runs.plan import prepare
    from bnnjax.runs.train import execute

    return partial(execute, prepare(config))


def experiment(dataset: str, arguments: Sequence[str]) -> Experiment[Config]:
    """Returns the training experiment on a data set.

    Args:
      dataset: cifar10, digits, imagenet or a data set of TFDS.
      arguments: of the command; a --preset among them sets the defaults that the others change.

    Raises:
      ValueError: if no data set can have this name.
    """
    if dataset in ("imagenet", IMAGENET):
        description, defaults = DESCRIPTIONS["imagenet"], defaults_for(arguments)
    elif dataset == "digits":
        # An epoch takes seconds, and a checkpoint half of one.
        defaults = Config(dataset="digits", checkpoint_every=3)
        description = DESCRIPTIONS["digits"]
    else:
        description = DESCRIPTIONS.get(dataset, OTHER.format(dataset=dataset))
        defaults = Config(dataset=dataset)
    return Experiment(description=description, defaults=defaults, prepare=prepare_run)


def run(program: str, arguments: Sequence[str]) -> NoReturn:
    """Trains on the data set that the first argument names."""
    choices = {name: description.splitlines()[0] for name, description in DESCRIPTIONS.items()}
    others = "the name of another prepared data set of small images"
    dataset, rest = choose(program, "data set", arguments, choices, others)
    program = f"{program} {dataset}"
    try:
        chosen = experiment(dataset, rest)
    except ValueError as error:
        fail(program, str(error))
    chosen.run(program, rest)
