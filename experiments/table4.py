"""Reruns the ImageNet comparison table (IR-Net, table 4) under one recipe.

    python experiments/table4.py --rows resnet18 --data-dir DIR

The same as `bnnjax table table4`, whose --help has more.
"""

from bnnjax.cli.table import EXPERIMENTS

if __name__ == "__main__":
    EXPERIMENTS["table4"].run_as_script()
