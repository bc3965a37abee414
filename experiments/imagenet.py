"""Trains a binarized network on ImageNet, which `bnnjax prepare imagenet2012` has prepared.

    python experiments/imagenet.py --data-dir DIR --constraint=l1inf

The same as `bnnjax train imagenet`, whose --help has more.
"""

import sys

from bnnjax.cli.train import experiment

if __name__ == "__main__":
    experiment("imagenet", sys.argv[1:]).run_as_script()
