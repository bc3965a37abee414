"""Trains a binarized network on ImageNet.

    python -m bnnjax.cli.prepare imagenet2012 --from DIR --data-dir DIR
    python experiments/imagenet.py --data-dir DIR --constraint=l1inf
    python experiments/imagenet.py --data-dir DIR --preset reactnet --model resnet34 --precision bfloat16

The first prepares the official tar files, once.  Random crops and flips; 10,000 of the training images are
held out to choose the epoch, the 50,000 validation images are the test.  The recipe is SGD 0.1, batches of
256, cosine, 100 epochs, or that of a --preset; those have their sources in bnnjax/presets.py.
"""

import sys

from bnnjax.cli.main import main
from bnnjax.config.presets import defaults_for, prepare_preset
from bnnjax.runtime.huge_pages import restart_with_huge_pages

if __name__ == "__main__":
    restart_with_huge_pages()
    main(defaults_for(sys.argv[1:]), __doc__, prepare_preset)
