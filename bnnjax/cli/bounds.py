"""`bnnjax bounds`: Lipschitz bounds of trained networks, how far noise can move their outputs."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from bnnjax.cli.main import Experiment, Work


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The runs to compare, and the effort of the search."""

    # Run directories.
    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    # Test images that the search starts from.
    images: int = 64
    # Steps of the search, for each size of noise.
    steps: int = 10
    # Directory of prepared TFDS data sets; by default the one that each run used.
    data_dir: Path | None = None
    # Directory for bounds.json and bounds.png.
    workdir: Path = Path("bounds")

    def __post_init__(self) -> None:
        for name in ("images", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")


def prepare(arguments: Arguments) -> Work:
    """Reads the runs and returns the work."""
    # Here, so that --help does not wait for JAX.
    from bnnjax.studies.bounds import prepare_study

    if not arguments.runs:
        raise ValueError("name at least one run directory")
    return prepare_study(
        arguments.runs, arguments.workdir, arguments.data_dir, arguments.images, arguments.steps
    )


EXPERIMENT = Experiment(
    description="""Shows how far noise can move the outputs of trained networks, layer by layer.

    bnnjax bounds runs/digits-resnet20-irnet-none-seed0 runs/digits-resnet20-irnet-l1inf-seed0

The bounds are those of the surrogate networks, in which each sign is replaced by the clip it is trained
through: upper bounds from L1,inf norms and from spectral norms, lower bounds from gradient ascent starting at
test images.
""",
    defaults=Arguments(),
    prepare=prepare,
)
run = EXPERIMENT.run
