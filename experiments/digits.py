"""Trains a binarized network on the handwritten digits that ship with scikit-learn; nothing is downloaded.

    python experiments/digits.py --constraint=l1inf

The same as `bnnjax train digits`, whose --help has more.
"""

import sys

from bnnjax.cli.train import experiment

if __name__ == "__main__":
    experiment("digits", sys.argv[1:]).run_as_script()
