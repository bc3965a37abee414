"""Shows trained networks noise of every kind, and scores what they make of it.

    python experiments/robustness.py RUN...

All 19 corruptions of the benchmark at 5 severities on all test images: accuracy, mean corruption accuracy,
mCE against the first run, calibration, flip rate, with intervals.  The same command goes on where it stopped.
"""

from bnnjax.cli.main import Work, main
from bnnjax.config.robustness import RobustnessConfig
from bnnjax.runtime.huge_pages import restart_with_huge_pages


def prepare(config: RobustnessConfig) -> Work:
    """Checks the evaluation and returns the work."""
    # Here, so that --help does not wait for JAX.
    from bnnjax.studies.robustness import prepare_study

    if not config.runs:
        raise ValueError("name at least one run directory")
    return prepare_study(config)


if __name__ == "__main__":
    restart_with_huge_pages()
    main(RobustnessConfig(), __doc__, prepare)
