"""The settings of each constraint, as the configuration of a run holds them."""

import fnmatch
import math
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from bnnjax.config.checks import NOT_NEGATIVE, check, check_form


@dataclass(frozen=True, kw_only=True)
class L1InfConfig:
    """The L1,inf constraint; used with --constraint l1inf."""

    # soft: a penalty on the loss; hard: a projection of the batch norm gains after each update; both; init:
    # gains begin as small as hard makes them, and are then left alone (a control); floor: batch norms divide
    # by at least ||What||_1 / radius, and gains are at most 1; agreement: a penalty on the number of inputs
    # over the deviation of what they add up to, so that they agree; reach: one on values that noise can carry
    # over the threshold of their sign.
    form: Literal["soft", "hard", "both", "init", "floor", "agreement", "reach"] = "soft"
    # Which norm: folded (kernel, scale and batch norm), gain (the batch norm's gain left out, the batch
    # variance differentiated), weights or scales (the naive forms; scales does nothing where a method's scale
    # has no gradient, as IR-Net's).  All forms but soft take folded alone.
    target: Literal["folded", "gain", "weights", "scales"] = "folded"
    # bound: log of the network's bound; sum: of the units' norms.
    reduction: Literal["bound", "sum"] = "bound"
    # 0 takes the exact maximum over channels; T > 0 smooths it by a log-sum-exp, in units of the norm.
    temperature: float = 0.0
    # Factor of the penalty (soft forms, agreement, reach).
    strength: float = 0.003
    # Share of training over which the strength rises linearly from 0; 0: it is constant.
    ramp: float = 0.0
    # Standard deviation of noise on the network's input, the normalized image, that the stem is to stand
    # (agreement, reach); on CIFAR-10 four times that on images in [0, 1].
    noise: float = 0.3
    # Share of signs that flip, which the layers behind it are to stand (reach).
    flips: float = 0.1
    # How many deviations of the noise a value keeps away from the threshold (reach).
    tau: float = 1.0
    # Largest norm of a unit (hard forms, init, floor).
    radius: float = 10.0
    # Largest bound of the network (hard forms), in place of a radius: the units share its logarithm.
    bound: float | None = None
    # PATTERN=WEIGHT ...: units whose names match (stem, stage1_*, */conv1) count WEIGHT times in the penalty,
    # and their radius is divided by it; the last match counts, other units have weight 1.  0: left alone.
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("temperature", "strength", "noise", "tau"):
            value = getattr(self, name)
            check(f"l1inf.{name}", value, NOT_NEGATIVE, 0 <= value < math.inf)
        for name in ("ramp", "flips"):
            value = getattr(self, name)
            check(f"l1inf.{name}", value, "in [0, 1]", 0 <= value <= 1)
        for name in ("radius", "bound"):
            value = getattr(self, name)
            check(f"l1inf.{name}", value, "positive and finite", value is None or 0 < value < math.inf)
        if self.form != "soft" and self.target != "folded":
            raise ValueError(f"l1inf.form {self.form} takes l1inf.target folded; got {self.target}")
        own: dict[str, tuple[str, ...]] = {
            "soft or both": ("reduction", "temperature"),
            "soft, both, agreement or reach": ("strength", "ramp"),
            "hard or both": ("bound",),
            "hard, both, init or floor": ("radius",),
            "agreement or reach": ("noise",),
            "reach": ("flips", "tau"),
        }
        check_form("l1inf", self, own)
        if self.bound is not None and self.radius != L1InfConfig.radius:
            raise ValueError(f"l1inf.bound is in place of l1inf.radius; got {self.bound} and {self.radius}")
        for entry in self.layers:
            pattern, _, weight = entry.rpartition("=")
            if not pattern or not re.fullmatch(r"\d+(\.\d*)?|\.\d+", weight):
                raise ValueError(f"l1inf.layers must be PATTERN=WEIGHT, WEIGHT 0 or positive; got {entry}")

    def weight(self, unit: str) -> float:
        """Returns the weight that `layers` gives a unit."""
        weight = 1.0
        for entry in self.layers:
            pattern, _, value = entry.rpartition("=")
            if fnmatch.fnmatchcase(unit, pattern):
                weight = float(value)
        return weight

    def radius_of(self, unit: str) -> float:
        """Returns the largest norm of a unit, radius / weight."""
        weight = self.weight(unit)
        return self.radius / weight if weight else math.inf


@dataclass(frozen=True, kw_only=True)
class LCRConfig:
    """Lipschitz continuity retention; used with --constraint lcr."""

    # repo: the stages of the network against those of a full-precision one, as the published code has it;
    # paper: each binary layer's input against its signs, as the paper's figure has it.
    form: Literal["repo", "paper"] = "repo"
    # Factor of the penalty.  repo: alpha of the code, which divides it by 10,000 images of a batch; left out:
    # its 8.  paper: lambda; left out: 0.1, ours, as none could be read.
    strength: float | None = None
    # Each pair of stages or layers counts so many times what the pair before it counts.
    beta: float = 2.0
    # Power iterations to the largest singular value (paper); the other form takes one, as its code does.
    iterations: int = 5
    # A run of a full-precision network, of any depth, to compare with (repo); left out: this command trains
    # one first, in WORKDIR/pretrained.
    teacher: Path | None = None
    # Whether a learned gain multiplies the features of each stage, as in the code (repo).
    gains: bool = False
    # Whether the features are computed in a forward pass of their own, as in the code, which takes the time
    # of a second pass and updates the batch statistics twice (repo).
    second_pass: bool = False

    def __post_init__(self) -> None:
        if self.strength is not None and not 0 <= self.strength < math.inf:
            raise ValueError(f"lcr.strength must be 0 or positive, and finite; got {self.strength}")
        if not 1 <= self.beta < math.inf:
            raise ValueError(f"lcr.beta must be at least 1, and finite; got {self.beta}")
        if self.iterations < 1:
            raise ValueError(f"lcr.iterations must be at least 1; got {self.iterations}")
        check_form("lcr", self, {"repo": ("teacher", "gains", "second_pass"), "paper": ("iterations",)})


@dataclass(frozen=True, kw_only=True)
class SpectralConfig:
    """The spectral norm of each unit; used with --constraint spectral."""

    # regularize: a penalty on the squares; normalize: a largest norm, by the batch norm gains.
    form: Literal["regularize", "normalize"] = "regularize"
    # Factor of the sum of squares (regularize).
    strength: float = 0.005
    # Largest norm of a unit (normalize).
    radius: float = 1.0
    # Power iterations a step.
    iterations: int = 1

    def __post_init__(self) -> None:
        check("spectral.strength", self.strength, NOT_NEGATIVE, 0 <= self.strength < math.inf)
        check("spectral.radius", self.radius, "positive and finite", 0 < self.radius < math.inf)
        check("spectral.iterations", self.iterations, "at least 1", self.iterations >= 1)
        check_form("spectral", self, {"regularize": ("strength",), "normalize": ("radius",)})


@dataclass(frozen=True, kw_only=True)
class KureConfig:
    """The kurtosis of latent kernels; used with --constraint kure."""

    # Factor of the mean over layers of (kurtosis - target)^2.
    strength: float = 1.0
    # 1.8: the uniform law; 1: two points, as binary weights are; 3: the normal law.
    target: float = 1.8

    def __post_init__(self) -> None:
        check("kure.strength", self.strength, NOT_NEGATIVE, 0 <= self.strength < math.inf)
        check("kure.target", self.target, "at least 1, and finite", 1 <= self.target < math.inf)


@dataclass(frozen=True, kw_only=True)
class ParsevalConfig:
    """Latent kernels with orthogonal filters; used with --constraint parseval."""

    # penalty: on the loss; retraction: a step towards orthogonality after each update.
    form: Literal["penalty", "retraction"] = "penalty"
    # Factor of the sum over layers (penalty).
    strength: float = 0.001
    # How far the step goes (retraction).
    beta: float = 0.0003

    def __post_init__(self) -> None:
        check("parseval.strength", self.strength, NOT_NEGATIVE, 0 <= self.strength < math.inf)
        check("parseval.beta", self.beta, "in (0, 1)", 0 < self.beta < 1)
        check_form("parseval", self, {"penalty": ("strength",), "retraction": ("beta",)})


@dataclass(frozen=True, kw_only=True)
class L2Config:
    """The L2 norm of kernels; used with --constraint l2."""

    # folded: with the batch norm folded in; latent: what is trained, whose norm the batch norm makes up for.
    target: Literal["folded", "latent"] = "folded"
    # Factor of the sum of squares.
    strength: float = 0.0003

    def __post_init__(self) -> None:
        check("l2.strength", self.strength, NOT_NEGATIVE, 0 <= self.strength < math.inf)


@dataclass(frozen=True, kw_only=True)
class GradPenaltyConfig:
    """The gradient of the logits by the input; used with --constraint gradpenalty."""

    # Factor of the mean over images of the squared norm of the Jacobian.
    strength: float = 0.005
    # Random directions in the logits by which the norm is estimated; each costs a backward pass.
    projections: int = 1

    def __post_init__(self) -> None:
        check("gradpenalty.strength", self.strength, NOT_NEGATIVE, 0 <= self.strength < math.inf)
        check("gradpenalty.projections", self.projections, "at least 1", self.projections >= 1)


@dataclass(frozen=True, kw_only=True)
class ConstraintSettings:
    """Which constraint a network is trained under, with the settings of each; part of a configuration."""

    # Constraint that networks are trained under, several with commas between: none, l1inf, lcr, spectral,
    # kure, parseval, l2, gradpenalty.
    constraint: str = "none"
    # Settings of the L1,inf constraint.
    l1inf: L1InfConfig = field(default_factory=L1InfConfig)
    # Settings of Lipschitz continuity retention.
    lcr: LCRConfig = field(default_factory=LCRConfig)
    # Settings of the spectral norm's constraint.
    spectral: SpectralConfig = field(default_factory=SpectralConfig)
    # Settings of the constraint on the kurtosis of kernels.
    kure: KureConfig = field(default_factory=KureConfig)
    # Settings of the constraint that makes kernels orthogonal.
    parseval: ParsevalConfig = field(default_factory=ParsevalConfig)
    # Settings of the L2 penalty.
    l2: L2Config = field(default_factory=L2Config)
    # Settings of the penalty on the gradient by the input.
    gradpenalty: GradPenaltyConfig = field(default_factory=GradPenaltyConfig)

    def __post_init__(self) -> None:
        for name in self.constraints:
            if name not in CONSTRAINTS:
                raise ValueError(f"unknown constraint {name!r}; allowed are none, {', '.join(CONSTRAINTS)}")
        if len(set(self.constraints)) < len(self.constraints):
            raise ValueError(f"constraint must name each once; got {self.constraint}")
        for name in CONSTRAINTS:
            settings = getattr(self, name)
            if name not in self.constraints and settings != type(settings)():
                raise ValueError(
                    f"the {name} settings act with constraint {name} only; got {self.constraint}"
                )

    @property
    def constraints(self) -> tuple[str, ...]:
        """The names in `constraint`; none has none."""
        return () if self.constraint == "none" else tuple(self.constraint.split(","))

    @property
    def compares(self) -> bool:
        """Whether its constraint compares the network with another one, in full precision."""
        return "lcr" in self.constraints and self.lcr.form == "repo"

    @property
    def compares_with_twin(self) -> bool:
        """Whether that is the run's full-precision twin, which the same command trains first."""
        return self.compares and self.lcr.teacher is None


CONSTRAINTS = tuple(one.name for one in fields(ConstraintSettings) if one.name != "constraint")
