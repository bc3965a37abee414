"""`bnnjax table`: reruns comparison tables of the literature under one recipe."""

from collections.abc import Sequence
from typing import NoReturn

from bnnjax.cli.main import Experiment, Work, run_one_of
from bnnjax.config.table import TableConfig


def prepare(config: TableConfig) -> Work:
    """Checks a table's runs and returns the work of filling it."""
    # Here, so that --help does not wait for JAX.
    from bnnjax.studies.tables import prepare_table

    return prepare_table(config)


EXPERIMENTS = {
    "table3": Experiment(
        description="""Reruns the CIFAR-10 comparison table (IR-Net, table 3) under one recipe.

    bnnjax table table3 --dataset digits
    bnnjax table table3 --rows resnet20 --epochs 40 --seeds 1 --data-dir DIR

All rows have the same schedule and augmentation, and no pretrained weights unless a method's definition needs
them, which the table says.  Rerun the command to resume.
""",
        defaults=TableConfig(table="table3", dataset="cifar10"),
        prepare=prepare,
    ),
    "table4": Experiment(
        description="""Reruns the ImageNet comparison table (IR-Net, table 4) under one recipe.

    bnnjax table table4 --rows resnet18 --data-dir DIR
    bnnjax table table4 --dataset cifar10 --epochs 100 --data-dir DIR

On data sets other than ImageNet the networks have the stem for small images.  All rows have the same schedule
and augmentation, and no pretrained weights unless a method's definition needs them, which the table says.
Rerun the command to resume.
""",
        defaults=TableConfig(table="table4", dataset="imagenet2012"),
        prepare=prepare,
    ),
}


def run(program: str, arguments: Sequence[str]) -> NoReturn:
    """Runs the table that the first argument names."""
    run_one_of(EXPERIMENTS, "table", program, arguments)
