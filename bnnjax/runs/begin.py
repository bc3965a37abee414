"""The beginning of a stage: its first state, and the other networks that it is made from."""

from typing import Any

import jax
from rich.console import Console

from bnnjax.constraints.objective import LCR
from bnnjax.runs.initial import BEGINNING, first_arrays, path_within
from bnnjax.runs.learner import TARGETS
from bnnjax.runs.plan import Stage
from bnnjax.runs.saved import read_trained
from bnnjax.runtime.console import say
from bnnjax.runtime.files import read_json, write_json
from bnnjax.runtime.processes import is_first, tree_as_first
from bnnjax.train.parallel import replicate
from bnnjax.train.state import RunState, initial_state
from bnnjax.types import Tree


def first_state(stage: Stage, state: RunState, key: jax.Array, console: Console) -> RunState:
    """Returns the state before the first step.

    Args:
      stage: whose twin is finished, if training begins from it.
      state: of a network with random weights.
      key: that these were made with.
      console: says what training begins from instead.
    """
    source = stage.pretrained
    if stage.begins_from_twin:
        source = read_trained(stage.twin.workdir, stage.dataset)
    if source is None and stage.setup.network.method.prepare is None:
        return state
    if source is not None:
        say(console, f"beginning from the network in {source.place}")
    arrays, seconds = first_arrays(stage.config, stage.setup.network, stage.dataset, source, key)
    if seconds is not None:
        say(console, f"prepared the kernels layer by layer in {seconds:.1f} s")
        if is_first():
            write_json(stage.place / BEGINNING, {"prepare_seconds": seconds})
    params = stage.setup.constrained.begin(*arrays)
    params = {**state.train.params, **params}  # what a constraint learns is no part of the network
    task = stage.setup.task
    first = initial_state(params, arrays.batch_stats, task.optimizer, task.learner.carried())
    return replicate(stage.mesh, tree_as_first(first))


def teachers_of(stage: Stage) -> dict[str, tuple[Tree, Tree]]:
    """Returns params and batch_stats of the networks that a stage learns from; its twin is finished."""
    networks = dict(stage.teachers)
    if stage.config.compares_with_twin:
        networks[LCR] = read_trained(stage.twin.workdir, stage.dataset)
    return {name: (network.params, network.batch_stats) for name, network in networks.items()}


def made_from(stage: Stage) -> dict[str, Any]:
    """Returns what a summary tells of the networks that a stage was made from."""
    networks = {"pretrained": stage.pretrained, "teacher": stage.teachers.get(TARGETS)}
    networks["lcr_teacher"] = stage.teachers.get(LCR)
    runs = {name: (net.place, net.config) for name, net in networks.items() if net is not None}
    twin, beginning = (stage.twin.workdir, stage.twin), stage.place / BEGINNING
    if stage.begins_from_twin:
        runs["pretrained"] = twin
    if stage.config.compares_with_twin:
        runs["lcr_teacher"] = twin
    places = {name: path_within(stage.place, place) for name, (place, _) in runs.items()}
    return {
        **{name: places.get(name) for name in networks},
        "pretrained_epochs": runs["pretrained"][1].epochs if "pretrained" in runs else None,
        "prepare_seconds": read_json(beginning)["prepare_seconds"] if beginning.exists() else None,
    }
