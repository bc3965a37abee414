"""The plan of a run: everything that can be wrong with it is found here, before anything is compiled."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from jax.sharding import Mesh

from bnnjax.config.training import Config
from bnnjax.constraints.objective import LCR
from bnnjax.data import Dataset
from bnnjax.data.load import load
from bnnjax.methods import make_method
from bnnjax.models import default_structure
from bnnjax.robustness.evaluation import check_quick
from bnnjax.runs import directory
from bnnjax.runs.initial import full_precision, take
from bnnjax.runs.learner import TARGETS
from bnnjax.runs.saved import Trained, read_teachers, read_trained
from bnnjax.runs.setup import Setup, make_network, make_setup
from bnnjax.runtime.cache import use_compilation_cache
from bnnjax.runtime.determinism import require_determinism
from bnnjax.runtime.lock import hold
from bnnjax.runtime.processes import is_first
from bnnjax.train.parallel import describe, make_mesh

IMAGENET_STEMS = ("resnet18", "resnet34")  # which have another stem for it


class Prepared(NamedTuple):
    """A run that is known to be possible; nothing has been compiled yet."""

    config: Config  # with nothing left out
    place: Path
    setup: Setup
    dataset: Dataset
    mesh: Mesh
    is_known: bool  # whether the run directory was there before
    pretrained: Trained | None  # what --pretrained names
    teachers: Mapping[str, Trained]  # what --teacher and --lcr.teacher name, as `make_setup` names them
    twin: "Prepared | None"  # the full-precision run that comes first, where the run needs it
    held: ExitStack  # the run directory's lock, and what else is given back when the run ends

    @property
    def needs_reference(self) -> bool:
        """Whether lcr compares with the twin."""
        return self.config.compares and LCR not in self.teachers

    @property
    def begins_from_twin(self) -> bool:
        """Whether training begins from the twin."""
        return self.setup.network.method.pretrained and self.pretrained is None


def resolve(config: Config) -> Config:
    """Returns the configuration with everything that was left out filled in.

    Raises:
      ValueError: if the method, its bits or the network are not defined.
    """
    method = make_method(config.method, config.wbits, config.abits)
    config = config.with_recipe(method.recipe if config.recipe == "published" else config.common)
    if config.dataset == "imagenet2012" and config.model in IMAGENET_STEMS:
        config = config.with_values(model=f"{config.model}_imagenet")
    structure = default_structure(config.model, method, config.structure)
    config = config.with_values(method=method.name)  # not an alias
    return config.with_values(
        wbits=method.wbits,
        abits=method.abits,
        structure=structure,
        workdir=config.workdir or directory.default_workdir(config),
    )


def prepare(config: Config, dataset: Dataset | None = None) -> Prepared:
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
    config = resolve(config)
    assert config.workdir is not None
    with ExitStack() as held:
        if is_first():
            held.enter_context(hold(config.workdir))
        run = check(config, dataset)
        if run.twin is not None:
            held.enter_context(run.twin.held)
        return run._replace(held=held.pop_all())


def check(config: Config, dataset: Dataset | None) -> Prepared:
    """Returns what `prepare` does, for a resolved configuration whose directory is held."""
    assert config.workdir is not None
    assert config.batch_size is not None
    mesh = make_mesh(config.batch_size, parts=config.accumulate)
    is_known = is_first() and directory.claim(config.workdir, config)
    if dataset is None:
        dataset = load(config)
    if config.noise == "quick":
        check_quick(dataset)
    teachers = read_teachers(config, dataset)
    others = {name: teacher.network for name, teacher in teachers.items()}
    needs_twin = config.compares and LCR not in teachers
    if needs_twin:
        others[LCR] = make_network(full_precision(config), dataset)
    setup = make_setup(config, dataset, others)
    source = None if config.pretrained is None else read_trained(config.pretrained, dataset)
    if source is not None:
        take(config, setup.network, source)  # for its errors
    record_or_check(config, setup, dataset, mesh, is_known, source, teachers)
    twin = None
    needs_twin |= setup.network.method.pretrained and source is None
    if needs_twin and not directory.is_finished(config.workdir):
        twin = prepare(full_precision(config), dataset)
    place, nothing = config.workdir, ExitStack()
    return Prepared(config, place, setup, dataset, mesh, is_known, source, teachers, twin, nothing)


def record_or_check(
    config: Config,
    setup: Setup,
    dataset: Dataset,
    mesh: Mesh,
    is_known: bool,
    source: Trained | None,
    teachers: Mapping[str, Trained],
) -> None:
    """Writes the record of a new run, or compares that of a known one with its data and networks.

    Raises:
      ValueError: if they are others, or if the directory cannot be written or is not shared.
    """
    assert config.workdir is not None
    sources = {"pretrained": source, "teacher": teachers.get(TARGETS), "lcr.teacher": teachers.get(LCR)}
    networks: dict[str, Any] = {
        name: None if net is None else {"run": str(net.place), "digest": net.digest}
        for name, net in sources.items()
    }
    if not is_first():
        directory.check_shared(config.workdir)
    elif is_known:
        directory.check_numerics(config.workdir)
        directory.check_digest(config.workdir, dataset.digest)
        directory.check_networks(config.workdir, networks)
    else:
        data = {"source": dataset.source, "digest": dataset.digest}
        about = {**describe(mesh), "peak_learning_rate": config.peak_learning_rate}
        directory.record_config(config.workdir, config, data=data, **networks, **about)
