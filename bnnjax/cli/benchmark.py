"""`bnnjax benchmark`: times training and prediction steps, the input and the constraints."""

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from bnnjax.cli.main import Experiment, Work, WorkError, run_one_of
from bnnjax.config.benchmarks import ConstraintsConfig, InputConfig, KernelsConfig, StepsConfig
from bnnjax.runtime.exit_codes import STOPPED_BY_DATA, WRONG_INPUT
from bnnjax.runtime.signals import interrupting

if TYPE_CHECKING:
    from rich.console import Console

    from bnnjax.data import StreamedDataset


def _print_records(records: Iterable[Mapping[str, Any]], code: int, console: "Console") -> int:
    """Prints a line per record; a ValueError ends the work with the exit code `code`."""
    try:
        for record in records:
            console.out(json.dumps(record), highlight=False)
            if console.quiet:  # its reader is gone
                break
    except ValueError as error:
        raise WorkError(str(error), code) from error
    return 0


def prepare_steps(config: StepsConfig) -> Work:
    """Checks the cases and returns the work."""
    # Here, so that --help does not wait for JAX.
    from bnnjax.benchmarks.modes import groups_of, records

    return partial(_print_records, records(config, groups_of(config)), WRONG_INPUT)


def prepare_input(config: InputConfig) -> Work:
    """Checks the data and returns the work."""
    from bnnjax.data import load_imagenet
    from bnnjax.train.parallel import make_mesh

    make_mesh(config.batch)
    load = partial(load_imagenet, size=config.size, workers=config.workers)
    real = None if config.data_dir is None else load(config.data_dir)
    return partial(_time_input, config, load, real)


def _time_input(
    config: InputConfig,
    load: "Callable[[Path], StreamedDataset]",
    real: "StreamedDataset | None",
    console: "Console",
) -> int:
    from bnnjax.benchmarks.input import make_set, time_input

    with interrupting(), tempfile.TemporaryDirectory() as place:
        dataset = real or load(make_set(Path(place)))
        timing = time_input(dataset, model=config.model, batch=config.batch, repeats=config.repeats)
        return _print_records(timing, STOPPED_BY_DATA, console)


def prepare_constraints(config: ConstraintsConfig) -> Work:
    """Checks where the results go and returns the work."""
    from bnnjax.benchmarks.constraints import prepare_overhead
    from bnnjax.benchmarks.steps import Case

    case = Case(
        model=config.model,
        method=config.method,
        batch=config.batch,
        precision=config.precision,
        kernels=config.kernels,
    )
    examples = (config.train_examples, config.test_examples)
    return prepare_overhead(case, examples, config.repeats, config.workdir)


def prepare_kernels(config: KernelsConfig) -> Work:
    """Finds the implementations and returns the work."""
    from bnnjax.benchmarks.kernels import implementations, time_kernels

    records = time_kernels(implementations(), config.batch, config.repeats)
    return partial(_print_records, records, WRONG_INPUT)


EXPERIMENTS: dict[str, Experiment[Any]] = {
    "steps": Experiment(
        description="""Times training and prediction steps and prints one JSON line per case.

    bnnjax benchmark steps                                   # the L1,inf penalty's overhead
    bnnjax benchmark steps --models resnet20 resnet18 vgg_small --methods fp irnet xnor
    bnnjax benchmark steps --every-method --constraints none # what a step of each method costs
    bnnjax benchmark steps --starts                          # cold and warm compilation cache
    bnnjax benchmark steps --weak-scaling 1 2 4 8 --batches 32 --constraints none  # fake devices
    bnnjax benchmark steps --memory 8 --models resnet18_imagenet --batches 8  # in 8 GB
    bnnjax benchmark steps --noise                           # corruptions, and their evaluation
    bnnjax benchmark steps --constraints none --kernels xla native  # what kernels in C bring
    bnnjax benchmark steps --yardstick "python torch_irnet.py --steps 10"

Cases of one model and batch are timed in turn, so that their ratios to the first hold on a machine whose
speed drifts.  A yardstick is any command that prints a JSON line with `ms_per_step`.
""",
        defaults=StepsConfig(),
        prepare=prepare_steps,
    ),
    "kernels": Experiment(
        description="""Times binary convolutions and their gradients and prints one JSON line per case.

    bnnjax benchmark kernels
    bnnjax benchmark kernels --batch 1 --repeats 200

The layers are those of ResNet-20 on 32x32 images and of ResNet-18 on 224x224, with 3x3 kernels.  Each
implementation that this CPU has is timed in turn with XLA's float32 convolution.
""",
        defaults=KernelsConfig(),
        prepare=prepare_kernels,
    ),
    "input": Experiment(
        description="""Times the stream of ImageNet's images and prints one JSON line per case.

    bnnjax benchmark input                  # synthetic images of ImageNet's sizes
    bnnjax benchmark input --data-dir DIR   # the real ones

decoding: reading, decoding and cropping on one core, against Pillow decoding the same files at full size.
streaming: the rate of all workers.  waiting: how long a network's steps wait for the next batch.
""",
        defaults=InputConfig(),
        prepare=prepare_input,
    ),
    "constraints": Experiment(
        description="""Times training and testing under each constraint, in turn, and prints what they cost.

    bnnjax benchmark constraints
    bnnjax benchmark constraints --model resnet18 --batch 128 --repeats 10

Testing computes logits and the constraint's penalty of the test images, as the published code of LCR does;
prediction alone costs the same under every constraint.
""",
        defaults=ConstraintsConfig(),
        prepare=prepare_constraints,
    ),
}


def run(program: str, arguments: Sequence[str]) -> NoReturn:
    """Runs the benchmark that the first argument names."""
    run_one_of(EXPERIMENTS, "benchmark", program, arguments)
