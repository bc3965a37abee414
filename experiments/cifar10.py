"""Trains a binarized network on CIFAR-10.

    python experiments/cifar10.py --constraint=l1inf
    python experiments/cifar10.py --data-dir=DIR --method=xnor --epochs=8

The recipe is IR-Net's: SGD 0.1 with momentum 0.9, weight decay 1e-4, batches of 128, cosine, 400 epochs,
random crops and flips.
"""

from bnnjax.cli.main import main, prepare_run
from bnnjax.config.training import Config
from bnnjax.runtime.huge_pages import restart_with_huge_pages

DEFAULTS = Config(dataset="cifar10")

if __name__ == "__main__":
    restart_with_huge_pages()
    main(DEFAULTS, __doc__, prepare_run)
