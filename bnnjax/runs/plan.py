"""A run that is known to be possible, and the networks that it begins from and is made from."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from bnnjax.config.training import Config
from bnnjax.constraints.objective import LCR
from bnnjax.data import Dataset
from bnnjax.runs.initial import BEGINNING, first_network, path_within
from bnnjax.runs.saved import Trained, read_trained
from bnnjax.runs.setup import TARGETS, Setup
from bnnjax.runtime.files import read_json, write_json
from bnnjax.runtime.processes import is_first, tree_as_first
from bnnjax.train.parallel import replicate
from bnnjax.train.state import RunState, initial_state
from bnnjax.types import Tree


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
    def is_twins_pupil(self) -> bool:
        """Whether lcr compares with the twin."""
        return self.config.compares and LCR not in self.teachers

    @property
    def begins_from_twin(self) -> bool:
        """Whether training begins from the twin."""
        return self.setup.method.pretrained and self.pretrained is None


def is_finished(place: Path) -> bool:
    """Returns whether a run directory's run has come to its end."""
    return (place / "summary.json").exists()


def made_from(run: Prepared) -> dict[str, Any]:
    """Returns what a summary tells of the networks that a run was made from."""
    source, beginning = run.twin if run.begins_from_twin else run.pretrained, run.place / BEGINNING
    teacher, other = run.teachers.get(TARGETS), run.twin if run.is_twins_pupil else run.teachers.get(LCR)
    return {
        "pretrained": None if source is None else path_within(run.place, source.place),
        "pretrained_epochs": None if source is None else source.config.epochs,
        "prepare_seconds": read_json(beginning)["prepare_seconds"] if beginning.exists() else None,
        "teacher": None if teacher is None else path_within(run.place, teacher.place),
        "lcr_teacher": None if other is None else path_within(run.place, other.place),
    }


def teachers_of(run: Prepared) -> dict[str, tuple[Tree, Tree]]:
    """Returns params and batch_stats of the networks that a run learns from; its twin is finished."""
    networks = dict(run.teachers)
    if run.is_twins_pupil:
        assert run.twin is not None
        networks[LCR] = read_trained(run.twin.place, run.dataset)
    return {name: (network.params, network.batch_stats) for name, network in networks.items()}


def begin(run: Prepared, state: RunState, key: jax.Array, say: Callable[[str], None]) -> RunState:
    """Returns the state before the first step.

    Args:
      run: whose twin, if it has one, is finished.
      state: of a network with random weights.
      key: that these were made with.
      say: is told of what the run begins with instead.
    """
    source = run.pretrained
    if run.begins_from_twin:
        assert run.twin is not None
        source = read_trained(run.twin.place, run.dataset)
    if source is None and run.setup.method.prepare is None:
        return state
    if source is not None:
        say(f"beginning from the network in {source.place}")
    network, seconds = first_network(run.config, run.setup, run.dataset, source, key)
    if seconds is not None:
        say(f"prepared the kernels layer by layer in {seconds:.1f} s")
        if is_first():
            write_json(run.place / BEGINNING, {"prepare_seconds": seconds})
    params = {**state.train.params, **network.params}  # what a constraint learns is no part of the network
    first = initial_state(params, network.batch_stats, run.setup.task.optimizer, run.setup.task.carried())
    return replicate(run.mesh, tree_as_first(first))
