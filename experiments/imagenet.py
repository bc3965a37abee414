"""Trains a binarized network on ImageNet.

    python -m bnnjax.data.prepare imagenet2012 --from DIR --data-dir DIR
    python experiments/imagenet.py --data-dir DIR --constraint=l1inf
    python experiments/imagenet.py --data-dir DIR --model resnet34 --precision bfloat16

The first prepares the official tar files, once.  Random crops and flips; 10,000 of the training images are
held out to choose the epoch, the 50,000 validation images are the test.
"""

from bnnjax.cli import main, prepare_run
from bnnjax.config import COMMON_RECIPES, Config
from bnnjax.huge_pages import restart_with_huge_pages

DEFAULTS = Config(dataset="imagenet2012", model="resnet18", common=COMMON_RECIPES["imagenet2012"])

if __name__ == "__main__":
    restart_with_huge_pages()
    main(DEFAULTS, __doc__, prepare_run)
