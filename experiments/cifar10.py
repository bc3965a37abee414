"""Trains a binarized network on CIFAR-10.

    python experiments/cifar10.py --constraint=l1inf

The same as `bnnjax train cifar10`, whose --help has more.
"""

import sys

from bnnjax.cli.train import experiment

if __name__ == "__main__":
    experiment("cifar10", sys.argv[1:]).run_as_script()
