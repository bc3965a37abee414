"""Times training and testing under each constraint, in turn, and prints what they cost.

    python experiments/overhead.py
    python experiments/overhead.py --model resnet18 --batch 128 --repeats 10

To test is to compute logits and the constraint's penalty of the test images, as the published code of LCR
does; whoever wants logits alone pays for no constraint.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bnnjax.cli.main import main
from bnnjax.config.constraints import check
from bnnjax.config.training import MethodName, ModelName, Precision
from bnnjax.runtime.huge_pages import restart_with_huge_pages

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What to time."""

    # Network.
    model: ModelName = "resnet20"
    # Binarization method.
    method: MethodName = "irnet"
    # Images in a step, over all devices.
    batch: int = 128
    # What convolutions compute in.
    precision: Precision = "float32"
    # Counted steps of each.
    repeats: int = 20
    # Training images in an epoch.
    train_examples: int = 50_000
    # Test images in an epoch.
    test_examples: int = 10_000
    # Where overhead.md and overhead.json go.
    workdir: Path = Path("overhead")

    def __post_init__(self) -> None:
        for name in ("batch", "repeats", "train_examples", "test_examples"):
            check(name, getattr(self, name), "at least 1", getattr(self, name) >= 1)


def prepare(arguments: Arguments) -> "Callable[[Console], int]":
    """Returns the work."""
    # Here, so that --help does not wait for JAX.
    from bnnjax.benchmarks.constraints import prepare_overhead
    from bnnjax.benchmarks.steps import Case

    case = Case(
        model=arguments.model,
        method=arguments.method,
        batch=arguments.batch,
        precision=arguments.precision,
    )
    examples = (arguments.train_examples, arguments.test_examples)
    return prepare_overhead(case, examples, arguments.repeats, arguments.workdir)


if __name__ == "__main__":
    restart_with_huge_pages()
    main(Arguments(), __doc__, prepare)
