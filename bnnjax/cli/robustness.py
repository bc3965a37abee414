"""`bnnjax robustness`: evaluates trained networks under corruptions and attacks."""

from bnnjax.cli.main import Experiment, Work
from bnnjax.config.robustness import RobustnessConfig


def prepare(config: RobustnessConfig) -> Work:
    """Checks the evaluation and returns the work."""
    # Here, so that --help does not wait for JAX.
    from bnnjax.studies.robustness import prepare_study

    if not config.runs:
        raise ValueError("name at least one run directory")
    return prepare_study(config)


EXPERIMENT = Experiment(
    description="""Evaluates trained networks under corruptions and attacks.

    bnnjax robustness RUN...

All 19 corruptions of the benchmark at 5 severities on all test images: accuracy, mean corruption accuracy,
mCE against the first run, calibration, flip rate, with intervals.  Rerun the command to resume.
""",
    defaults=RobustnessConfig(),
    prepare=prepare,
)
run = EXPERIMENT.run
