"""The plan of a run: its stages, with all that can be wrong with them found before anything is compiled."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from jax.sharding import Mesh

from bnnjax.config.resolved import ResolvedConfig
from bnnjax.config.training import Config
from bnnjax.constraints.objective import LCR
from bnnjax.data import Dataset
from bnnjax.data.dataset import description_of
from bnnjax.data.load import load
from bnnjax.robustness.evaluation import check_quick
from bnnjax.runs import directory
from bnnjax.runs.initial import full_precision, take
from bnnjax.runs.learner import TARGETS
from bnnjax.runs.resolve import resolve
from bnnjax.runs.saved import Trained, read_teachers, read_trained
from bnnjax.runs.setup import Setup, make_network, make_setup
from bnnjax.runtime.cache import use_compilation_cache
from bnnjax.runtime.determinism import require_determinism
from bnnjax.runtime.lock import hold
from bnnjax.runtime.processes import is_first
from bnnjax.train.parallel import describe, make_mesh


class Stage(NamedTuple):
    """One network's training, in a run directory of its own, which is held."""

    config: ResolvedConfig
    setup: Setup
    dataset: Dataset
    mesh: Mesh
    is_known: bool  # whether the run directory was there before
    pretrained: Trained | None  # what --pretrained names
    teachers: Mapping[str, Trained]  # what --teacher and --lcr.teacher name, as `make_setup` names them

    @property
    def place(self) -> Path:
        """Its run directory."""
        return self.config.workdir

    @property
    def begins_from_twin(self) -> bool:
        """Whether training begins from the full-precision twin."""
        return self.setup.network.method.pretrained and self.pretrained is None

    @property
    def twin(self) -> ResolvedConfig:
        """The full-precision run that comes first where this one needs it."""
        return full_precision(self.config)


class Plan(NamedTuple):
    """What a command trains: known to be possible, and not compiled yet."""

    stages: tuple[Stage, ...]  # in order: the run's full-precision twin, if it needs one; the run itself
    held: ExitStack  # the locks of all run directories

    @property
    def run(self) -> Stage:
        """What the command is for."""
        return self.stages[-1]


def prepare(config: Config, dataset: Dataset | None = None) -> Plan:
    """Checks everything that can be wrong with a run before anything is compiled, and takes its directory.

    Of many processes the first claims it, before the others prepare: see `processes.in_turn`.

    Args:
      config: of the run.
      dataset: the one that it names, if it is loaded already.

    Raises:
      ValueError: with one sentence that says what is wrong.
    """
    if config.deterministic:
        require_determinism()
    use_compilation_cache()
    with ExitStack() as held:
        run = prepare_stage(resolve(config), dataset, held)
        stages = [run]
        needs_twin = run.begins_from_twin or run.config.compares_with_twin
        if needs_twin and not directory.is_finished(run.place):
            stages.insert(0, prepare_stage(run.twin, run.dataset, held))
        return Plan(tuple(stages), held.pop_all())


def prepare_stage(config: ResolvedConfig, dataset: Dataset | None, held: ExitStack) -> Stage:
    """Takes the directory of a stage, checks the stage, and writes its record if it is new.

    Args:
      config: of the stage.
      dataset: as for `prepare`.
      held: gets the directory's lock.

    Raises:
      ValueError: as `prepare`.
    """
    if is_first():
        held.enter_context(hold(config.workdir))
    mesh = make_mesh(config.batch_size, parts=config.accumulate)
    is_known = is_first() and directory.claim(config.workdir, config)
    if dataset is None:
        dataset = load(config)
    if config.noise == "quick":
        check_quick(dataset)
    teachers = read_teachers(config, dataset)
    others = {name: teacher.network for name, teacher in teachers.items()}
    if config.compares_with_twin:
        others[LCR] = make_network(full_precision(config), dataset)
    setup = make_setup(config, dataset, others)
    source = None if config.pretrained is None else read_trained(config.pretrained, dataset)
    if source is not None:
        take(config, setup.network, source)  # for its errors
    stage = Stage(config, setup, dataset, mesh, is_known, source, teachers)
    record_or_check(stage)
    return stage


def record_or_check(stage: Stage) -> None:
    """Writes the record of a new stage, or compares that of a known one with its data and networks.

    Raises:
      ValueError: if they are others, or if the directory cannot be written or is not shared.
    """
    config, dataset, teachers = stage.config, stage.dataset, stage.teachers
    sources = {
        "pretrained": stage.pretrained,
        "teacher": teachers.get(TARGETS),
        "lcr.teacher": teachers.get(LCR),
    }
    networks: dict[str, Any] = {
        name: None if net is None else {"run": str(net.place), "digest": net.digest}
        for name, net in sources.items()
    }
    if not is_first():
        directory.check_shared(stage.place)
    elif stage.is_known:
        directory.check_numerics(stage.place)
        directory.check_digest(stage.place, dataset.digest)
        directory.check_networks(stage.place, networks)
    else:
        about = {**describe(stage.mesh), "peak_learning_rate": config.peak_learning_rate}
        data = description_of(dataset)
        directory.record_config(stage.place, config, data=data, **networks, **about)
