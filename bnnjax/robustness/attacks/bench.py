"""A bench on which one network is attacked with several attacks in turn."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import jax.numpy as jnp
import numpy as np
from jax import Array

from bnnjax.robustness.attacks.batches import in_batches
from bnnjax.robustness.attacks.best import Attacked, LogitsOf
from bnnjax.robustness.attacks.pgd import unattacked
from bnnjax.runtime.keys import named_key

# (key, images, labels, eps) -> result, for a batch.
Run = Callable[..., Attacked]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The images on which one network is attacked, and the time that each attack takes.

    Attributes:
      images: the attacked images, float32 [m, h, w, c] in [0, 1].
      labels: of the attacked images, int [m].
      right: which of all images the network gets right without an attack, bool [n].
      attacked: which of all images are attacked, bool [n].
      batch_size: images that are attacked at once.
      key: of all random numbers.
      on_attack: called with the name of each attack as it begins.
      seconds: by attack, all sizes together; filled by `timed`.
    """

    images: np.ndarray
    labels: np.ndarray
    right: np.ndarray
    attacked: np.ndarray
    batch_size: int
    key: Array
    on_attack: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Announces an attack, and adds the time that the block takes."""
        self.on_attack(name)
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    def run(self, name: str, attack: Run, eps: float) -> Attacked:
        """Returns the results of an attack; its random numbers depend on its name, not on eps."""
        with self.timed(name):
            batch = partial(attack, eps=jnp.float32(eps))
            return in_batches(batch, named_key(self.key, name), self.images, self.labels, self.batch_size)

    def standing(self, found: Attacked) -> np.ndarray:
        """Returns which of all images the network still gets right, bool [n]."""
        left = self.right.copy()
        left[self.attacked] &= ~np.asarray(found.is_broken)
        return left


def set_up(
    logits_of: LogitsOf,
    images: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
    key: Array,
    on_attack: Callable[[str], None],
) -> Bench:
    """Returns the bench of a network; images that it misclassifies without an attack are not attacked."""
    size = min(batch_size, len(labels))
    clean = in_batches(partial(unattacked, logits_of, eps=jnp.float32(0)), key, images, labels, size)
    right = ~np.asarray(clean.is_broken)
    # If the network gets nothing right, all images are attacked, so that there are results to report.
    attacked = right if right.any() else np.ones(len(labels), bool)
    return Bench(
        images=images[attacked],
        labels=labels[attacked],
        right=right,
        attacked=attacked,
        batch_size=size,
        key=key,
        on_attack=on_attack,
    )
