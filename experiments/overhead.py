"""Times training and testing under each constraint, in turn, and prints what they cost.

    python experiments/overhead.py

The same as `bnnjax benchmark constraints`, whose --help has more.
"""

from bnnjax.cli.benchmark import EXPERIMENTS

if __name__ == "__main__":
    EXPERIMENTS["constraints"].run_as_script()
