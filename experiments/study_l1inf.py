"""Trains networks under the L1,inf constraint in all its forms and tests each under noise.

    python experiments/study_l1inf.py --dataset digits
    python experiments/study_l1inf.py --dataset cifar10 --data-dir DIR --train-examples 10000 --epochs 12

Accuracy, accuracy under Gaussian, impulse and blur noise, the bound and the units that are switched off, by
strength (soft form, each target) and by radius (hard form), beside networks without a constraint.  The same
command goes on where it stopped.
"""

from bnnjax.cli.main import Work, main
from bnnjax.config.l1inf_study import L1InfStudyConfig
from bnnjax.runtime.huge_pages import restart_with_huge_pages


def prepare(config: L1InfStudyConfig) -> Work:
    """Checks the study's runs and returns the work."""
    # Here, so that --help does not wait for JAX.
    from bnnjax.studies.l1inf import prepare_study

    return prepare_study(config)


if __name__ == "__main__":
    restart_with_huge_pages()
    main(L1InfStudyConfig(dataset="digits"), __doc__, prepare)
