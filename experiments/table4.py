"""Reruns the ImageNet comparison table (IR-Net, table 4) under one recipe.

    python experiments/table4.py --rows resnet18 --data-dir DIR
    python experiments/table4.py --dataset cifar10 --epochs 100 --data-dir DIR

On other data sets than ImageNet the networks have the stem for small images.  All rows have the same schedule
and augmentation, and no pretrained weights but where a method's definition needs them, which the table says.
The same command goes on where it stopped.
"""

from bnnjax.cli.main import main
from bnnjax.cli.table import prepare
from bnnjax.config.table import TableConfig
from bnnjax.runtime.huge_pages import restart_with_huge_pages

DEFAULTS = TableConfig(table="table4", dataset="imagenet2012")

if __name__ == "__main__":
    restart_with_huge_pages()
    main(DEFAULTS, __doc__, prepare)
