"""Times training and prediction steps and prints one JSON line per case.

    python experiments/benchmark.py

The same as `bnnjax benchmark steps`, whose --help has more.
"""

from bnnjax.cli.benchmark import EXPERIMENTS

if __name__ == "__main__":
    EXPERIMENTS["steps"].run_as_script()
