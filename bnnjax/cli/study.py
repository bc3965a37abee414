"""`bnnjax study`: trains networks under a constraint in its soft and hard forms and compares them."""

from collections.abc import Sequence
from typing import NoReturn

from bnnjax.cli.main import Experiment, Work, run_one_of
from bnnjax.config.l1inf_study import L1InfStudyConfig


def prepare(config: L1InfStudyConfig) -> Work:
    """Checks the study's runs and returns the work."""
    # Here, so that --help does not wait for JAX.
    from bnnjax.studies.l1inf import prepare_study

    return prepare_study(config)


L1INF = Experiment(
    description="""Trains networks under the L1,inf constraint, soft and hard, and tests each under noise.

    bnnjax study l1inf --dataset digits
    bnnjax study l1inf --dataset cifar10 --data-dir DIR --train-examples 10000 --epochs 12

Reports accuracy, accuracy under Gaussian noise, impulse noise and blur, the bound and dead units, by strength
(soft form, each target) and by radius (hard form), beside networks without a constraint.  Rerun the command
to resume.
""",
    defaults=L1InfStudyConfig(dataset="digits"),
    prepare=prepare,
)
EXPERIMENTS = {"l1inf": L1INF}


def run(program: str, arguments: Sequence[str]) -> NoReturn:
    """Runs the study that the first argument names."""
    run_one_of(EXPERIMENTS, "study", program, arguments)
