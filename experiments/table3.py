"""Reruns the CIFAR-10 comparison table (IR-Net, table 3) under one recipe.

    python experiments/table3.py --dataset digits
    python experiments/table3.py --rows resnet20 --epochs 40 --seeds 1 --data-dir DIR

All rows have the same schedule and augmentation, and no pretrained weights but where a method's definition
needs them, which the table says.  The same command goes on where it stopped.
"""

from bnnjax.cli.main import main
from bnnjax.cli.table import prepare
from bnnjax.config.table import TableConfig
from bnnjax.runtime.huge_pages import restart_with_huge_pages

DEFAULTS = TableConfig(table="table3", dataset="cifar10")

if __name__ == "__main__":
    restart_with_huge_pages()
    main(DEFAULTS, __doc__, prepare)
