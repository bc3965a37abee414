"""Reruns the CIFAR-10 comparison table (IR-Net, table 3) under one recipe.

    python experiments/table3.py --dataset digits

The same as `bnnjax table table3`, whose --help has more.
"""

from bnnjax.cli.table import EXPERIMENTS

if __name__ == "__main__":
    EXPERIMENTS["table3"].run_as_script()
