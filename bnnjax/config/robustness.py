"""The configuration of a robustness evaluation, from which its command line is made."""

import re
from dataclasses import dataclass
from pathlib import Path

import tyro

from bnnjax.config.checks import check, refuse_idle

# What --corruptions takes beside names: all 19, or the 15 that scores are made of.
ALL, BENCHMARK = "all", "benchmark"
NO_TRACE = "none"


@dataclass(frozen=True, kw_only=True)
class RobustnessConfig:
    """Trained networks, and the noise and the attacks that they are shown."""

    # Run directories.
    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    # all, benchmark (the 15 that scores are made of), or names (gaussian_noise, fog, ...).
    corruptions: tuple[str, ...] = (ALL,)
    # Severities: 1-5, or some of them, as 1,3,5.
    severities: str = "1-5"
    # Test images, the first so many; left out: all.
    examples: int | None = None
    # The run that mCE compares with; left out: the first.
    baseline: Path | None = None
    # Corrupted images in place of those made here: a directory of .npy files (CIFAR-10-C), of a prepared
    # TFDS set (cifar10_corrupted, imagenet2012_corrupted), or of folders (ImageNet-C).
    images: Path | None = None
    # Of the noise and of the attacks.
    seed: int = 0

    # Sizes of l_inf attacks, in grey levels of 255; left out: no attacks.
    attacks: tuple[float, ...] = ()
    # Test images that are attacked, the same share of every class.
    attack_images: int = 256
    # Steps of each attack by gradients.
    steps: int = 20
    # Queries of the black box, for each image.
    queries: int = 300
    # A run in full precision, whose adversarial images are tried on the others.
    twin: Path | None = None

    # The noise whose traces in the feature maps are shown, and its severity; none leaves them out.
    trace: str = "gaussian_noise"
    trace_severity: int = 3
    # Images that a network is given at once, over all devices.
    batch_size: int = 1000
    # Where prepared TFDS data sets lie; left out: where each run found its own.
    data_dir: Path | None = None
    # Where the outcomes and the page go.
    workdir: Path = Path("robustness")

    def __post_init__(self) -> None:
        if not self.corruptions:
            raise ValueError("corruptions must be all, benchmark or names; got nothing")
        for name in ("examples", "batch_size", "attack_images", "steps", "queries"):
            value = getattr(self, name)
            check(name, value, "at least 1", value is None or value >= 1)
        check("seed", self.seed, "between 0 and 2^32 - 1", 0 <= self.seed < 2**32)
        check("trace_severity", self.trace_severity, "1 to 5", 1 <= self.trace_severity <= 5)
        for size in self.attacks:
            check("attacks", size, "above 0 and up to 255", 0 < size <= 255)
        if not self.attacks:
            refuse_idle(self, ("attack_images", "steps", "queries", "twin"), "attacks", "none")
        if self.trace == NO_TRACE:
            refuse_idle(self, ("trace_severity",), "a trace", self.trace)
        self.severity_numbers()

    def severity_numbers(self) -> tuple[int, ...]:
        """Returns the severities, rising.

        Raises:
          ValueError: if they are not such.
        """
        numbers: set[int] = set()
        for part in self.severities.replace(" ", "").split(","):
            found = re.fullmatch(r"([1-5])(?:-([1-5]))?", part)
            last = found and int(found[2] or found[1])
            if not found or not last or last < int(found[1]):
                raise ValueError(
                    f"severities must be like 1-5 or 1,3,5, within 1 to 5; got {self.severities}"
                )
            numbers |= set(range(int(found[1]), last + 1))
        return tuple(sorted(numbers))
