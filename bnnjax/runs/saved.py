"""The network that a run has trained, read back from its directory, which is left as it is."""

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax

from bnnjax.config.json import from_json
from bnnjax.config.resolved import ResolvedConfig
from bnnjax.constraints.objective import LCR, without_learned
from bnnjax.data import Dataset
from bnnjax.models.network import Network
from bnnjax.robustness.outcomes import Predict
from bnnjax.runs.learner import TARGETS
from bnnjax.runs.setup import make_network, normalization_of
from bnnjax.runtime.files import read_json
from bnnjax.train.checkpoint import Checkpoints, MisfitError, check_fit, digest
from bnnjax.train.parallel import Predictor, make_mesh, replicate
from bnnjax.types import Tree


class Trained(NamedTuple):
    """The best network of a run, on the first device."""

    place: Path
    config: ResolvedConfig  # of the run
    network: Network  # for images and classes of the data set given to `read_trained`
    params: Tree
    batch_stats: Tree

    @property
    def digest(self) -> str:
        """The sha256, in hexadecimal, of the network's arrays."""
        return digest((self.params, self.batch_stats))


def read_config(place: Path) -> ResolvedConfig:
    """Returns the configuration of the run in a directory.

    Raises:
      ValueError: if the directory holds no run.
    """
    record = place / "config.json"
    if not record.exists():
        raise ValueError(f"{place} is not the directory of a run: it has no config.json")
    try:
        return from_json(read_json(record)["config"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{record} is not the record of a run that this version knows: {error}") from error


def latest_state(place: Path, say: Callable[[str], None] = lambda sentence: None) -> Any | None:
    """Returns the state in a run's latest undamaged checkpoint, as mappings and lists; None: there is none.

    Args:
      place: the run's directory, which is left as it is.
      say: called with a sentence for each checkpoint that is damaged.
    """
    if not (place / "checkpoints").is_dir():
        return None
    with closing(Checkpoints(place / "checkpoints", say, read_only=True)) as checkpoints:
        found = checkpoints.read()
    return None if found is None else found[1]


def read_trained(place: Path, dataset: Dataset) -> Trained:
    """Returns the best network of a run, finished or not, from its latest undamaged checkpoint.

    Args:
      place: the run's directory.
      dataset: what the network will be used on.

    Raises:
      ValueError: if the directory holds no run, no checkpoint that can be read or no finished epoch, or if
        the network is for images of another shape or another number of classes than the data set's.
    """
    config = read_config(place)
    network = make_network(config, dataset)
    complaints: list[str] = []
    state = latest_state(place, complaints.append)
    if state is None:
        why = f" that can be read: {complaints[0]}" if complaints else " yet"
        raise ValueError(f"the run {place} has no checkpoint{why}")
    best = state["best"]
    if not int(best["epoch"]):
        raise ValueError(f"the run {place} has not finished an epoch yet")
    arrays = best["params"], best["batch_stats"]
    try:
        found_here = without_learned(best["params"]), best["batch_stats"]
        check_fit(found_here, jax.eval_shape(network.init, jax.random.key(0)))
    except MisfitError as error:
        size = "x".join(map(str, dataset.image_shape))
        raise ValueError(
            f"the run {place} has no network for images of {size} and {len(dataset.class_names)} classes: "
            f"{error}"
        ) from error
    return Trained(place.absolute(), config, network, *arrays)


def _read_teacher(place: Path, config: ResolvedConfig, dataset: Dataset) -> Trained:
    theirs = read_config(place).dataset
    if theirs != config.dataset:
        raise ValueError(f"the teacher {place} was trained on {theirs}; the data set is {config.dataset}")
    return read_trained(place, dataset)


def read_teachers(config: ResolvedConfig, dataset: Dataset) -> dict[str, Trained]:
    """Returns the best networks of the runs that teach a configuration's, as `make_setup` names them.

    Raises:
      ValueError: as `read_trained`, if one was trained on a data set of another name, or if that which lcr
        compares with is not in full precision.
    """
    teachers = {}
    if config.teacher is not None:
        teachers[TARGETS] = _read_teacher(config.teacher, config, dataset)
    if config.lcr.teacher is not None:
        teachers[LCR] = _read_teacher(config.lcr.teacher, config, dataset)
        require_full_precision("lcr teacher", teachers[LCR])
    return teachers


def require_full_precision(what: str, network: Trained) -> None:
    """Raises ValueError, which names what the network is for, if it is not in full precision."""
    if network.config.method != "fp":
        raise ValueError(f"the {what} {network.place} has method {network.config.method}; fp is needed")


def predictor(
    trained: Trained, dataset: Dataset, batch_size: int, devices: Sequence[jax.Device] | None = None
) -> Predict:
    """Returns the network as a function, compiled for batches of this size over these or all devices."""
    mesh, normalization = make_mesh(batch_size, devices), normalization_of(trained.config, dataset)
    predict = Predictor(trained.network.logits, normalization, mesh, batch_size)
    return partial(predict, *replicate(mesh, (trained.params, trained.batch_stats)))
