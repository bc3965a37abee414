"""`bnnjax rerun`: repeats a run from its own record and compares the results."""

import os
from dataclasses import dataclass
from pathlib import Path

import tyro

from bnnjax.cli.main import Experiment, Work


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The run to repeat, where to, and where its data and other networks are now."""

    # The directory of a finished run.
    run: tyro.conf.Positional[Path | None] = None
    # Directory for the new run's results; by default RUN-rerun.
    workdir: Path | None = None
    # Directory of prepared TFDS data sets; by default, here and below, the one that the run used.
    data_dir: Path | None = None
    # The run that gave the initial weights.
    pretrained: Path | None = None
    # The run that gave the targets.
    teacher: Path | None = None
    # The run that lcr compared with.
    lcr_teacher: Path | None = None


def prepare(arguments: Arguments) -> Work:
    """Checks the record and returns the work."""
    # Here, so that --help does not wait for JAX.
    from bnnjax.runs.rerun import prepare_repetition

    if arguments.run is None:
        raise ValueError("name the directory of a run")
    return prepare_repetition(
        arguments.run,
        arguments.workdir or Path(f"{os.path.abspath(arguments.run)}-rerun"),  # of . and .., too
        data_dir=arguments.data_dir,
        pretrained=arguments.pretrained,
        teacher=arguments.teacher,
        lcr_teacher=arguments.lcr_teacher,
    )


EXPERIMENT = Experiment(
    description="""Repeats a run from its own record and says whether the results are the same, bit for bit.

    bnnjax rerun runs/digits-resnet20-irnet-l1inf-seed0

Data and other networks must be those that the run was made from; other differences, in versions and devices,
are reported.  rerun.json in the new run's directory has the comparison.  Rerun the command to resume.
""",
    defaults=Arguments(),
    prepare=prepare,
)
run = EXPERIMENT.run
