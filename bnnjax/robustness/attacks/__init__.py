"""Adversarial attacks on functions from images to logits, and the detection of gradient masking.

An attack takes images, float32 [n, h, w, c] in [0, 1], their labels, int [n], and a size eps in the same
unit (8/255), and searches within eps of each image, and within [0, 1], for a misclassified point.
"""

from bnnjax.robustness.attacks.apgd import apgd
from bnnjax.robustness.attacks.balls import L2, LINF, Ball
from bnnjax.robustness.attacks.batches import in_batches
from bnnjax.robustness.attacks.bench import Bench, Run, set_up
from bnnjax.robustness.attacks.best import Attacked, evaluate
from bnnjax.robustness.attacks.losses import cross_entropy, dlr, margins
from bnnjax.robustness.attacks.masking import signs_of_masking
from bnnjax.robustness.attacks.pgd import fgsm, pgd, unattacked
from bnnjax.robustness.attacks.square import square
from bnnjax.robustness.attacks.target import Target
from bnnjax.robustness.attacks.temperature import Setting, search, strongest

__all__ = [
    "L2",
    "LINF",
    "Attacked",
    "Ball",
    "Bench",
    "Run",
    "Setting",
    "Target",
    "apgd",
    "cross_entropy",
    "dlr",
    "evaluate",
    "fgsm",
    "in_batches",
    "margins",
    "pgd",
    "search",
    "set_up",
    "signs_of_masking",
    "square",
    "strongest",
    "unattacked",
]
