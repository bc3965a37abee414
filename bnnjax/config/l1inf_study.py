"""The configuration of the study of the L1,inf constraint, from which its command line is made."""

import math
from dataclasses import dataclass
from pathlib import Path

from bnnjax.config.checks import check
from bnnjax.config.constraints import L1InfConfig
from bnnjax.config.names import MethodName, ModelName
from bnnjax.config.series import SeriesConfig

TARGETS = ("folded", "gain", "weights", "scales")


@dataclass(frozen=True, kw_only=True)
class L1InfStudyConfig(SeriesConfig):
    """Networks trained under the L1,inf constraint in its soft and hard forms, each tested under noise."""

    # Networks.
    model: ModelName = "resnet20"
    # Binarization method.
    method: MethodName = "irnet"
    # Norms that the soft form is tried with: folded, gain, weights, scales.
    targets: tuple[str, ...] = TARGETS
    # Factors of the penalty.
    strengths: tuple[float, ...] = (0.0003, 0.001, 0.003, 0.01)
    # Radii of the hard form.
    radii: tuple[float, ...] = (3.0, 10.0, 30.0)
    # Severities of noise, 1 to 5.
    severities: tuple[int, ...] = (1, 3, 5)
    # Validation and test images that noise is put on, at most so many of each.
    noise_images: int = 2000

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, values, allowed in (
            ("targets", self.targets, TARGETS),
            ("severities", self.severities, (1, 2, 3, 4, 5)),
        ):
            for value in values:
                check(name, value, f"among {', '.join(map(str, allowed))}", value in allowed)
        for name in ("strengths", "radii"):
            for value in getattr(self, name):
                check(name, value, "positive and finite", 0 < value < math.inf)
        check("noise_images", self.noise_images, "at least 1", self.noise_images >= 1)
        self.run()  # refuses the settings that a run would refuse

    @property
    def place(self) -> Path:
        """Where the study is left."""
        return self.workdir or Path("studies", f"l1inf-{self.dataset.strip('/').replace('/', '-')}")

    def settings(self) -> dict[str, L1InfConfig | None]:
        """Returns the constraint's settings by the names of the rows; None is no constraint."""
        soft = {
            f"soft-{target}-{strength:g}": L1InfConfig(form="soft", target=target, strength=strength)  # type: ignore[arg-type]
            for strength in self.strengths
            for target in self.targets
        }
        hard = {f"hard-{radius:g}": L1InfConfig(form="hard", radius=radius) for radius in self.radii}
        return {"none": None, **soft, **hard}
