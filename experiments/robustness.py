"""Evaluates trained networks under corruptions and attacks.

    python experiments/robustness.py RUN...

The same as `bnnjax robustness`, whose --help has more.
"""

from bnnjax.cli.robustness import EXPERIMENT

if __name__ == "__main__":
    EXPERIMENT.run_as_script()
