"""Times the stream of ImageNet's images and prints one JSON line per case.

    python experiments/benchmark_input.py

The same as `bnnjax benchmark input`, whose --help has more.
"""

from bnnjax.cli.benchmark import EXPERIMENTS

if __name__ == "__main__":
    EXPERIMENTS["input"].run_as_script()
