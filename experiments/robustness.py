"""Shows trained networks noise of every kind, and scores what they make of it.

    python experiments/robustness.py RUN...

The same as `bnnjax robustness`, whose --help tells more.
"""

from bnnjax.cli.robustness import EXPERIMENT

if __name__ == "__main__":
    EXPERIMENT.run_as_script()
