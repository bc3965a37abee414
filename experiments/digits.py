"""Trains a binarized network on the handwritten digits that ship with scikit-learn; nothing is downloaded.

    python experiments/digits.py --constraint=l1inf

About two minutes on two CPU cores.
"""

from bnnjax.cli import main
from bnnjax.config import Config, Recipe

DEFAULTS = Config(dataset="digits", common=Recipe(batch_size=64, epochs=12))

if __name__ == "__main__":
    main(DEFAULTS, __doc__)
