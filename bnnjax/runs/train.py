"""The life of a run, once planned: it resumes or begins, trains, tests and reports."""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from bnnjax.constraints.objective import LCR
from bnnjax.data import StreamedDataset
from bnnjax.data.dataset import DataError
from bnnjax.report.run.console import TrainingDisplay, summary_table, training_progress
from bnnjax.report.run.tensorboard import event_writer
from bnnjax.runs.directory import is_finished
from bnnjax.runs.initial import BEGINNING, first_arrays, path_within
from bnnjax.runs.input import SKIPPED, make_feed, skipped_by_all
from bnnjax.runs.learner import TARGETS
from bnnjax.runs.plan import Prepared
from bnnjax.runs.results import conclude
from bnnjax.runs.saved import read_trained
from bnnjax.runtime.console import complain, say, show
from bnnjax.runtime.exit_codes import STOPPED_BY_DATA, STOPPED_BY_LOSS, WRONG_INPUT
from bnnjax.runtime.files import append_metrics, read_json, remove_unfinished, truncate_metrics, write_json
from bnnjax.runtime.processes import as_first, is_first, tree_as_first
from bnnjax.train.ahead import compile_ahead
from bnnjax.train.checkpoint import Checkpoints, MisfitError
from bnnjax.train.loop import Fit, NonFiniteLossError, StoppedError, StopRequest, fit, stop_on_signals
from bnnjax.train.parallel import Compiled, compile_task, describe, replicate
from bnnjax.train.state import RunState, initial_state
from bnnjax.types import Tree

METRICS = "metrics.jsonl"


def all_find_finished(place: Path) -> bool:
    """Returns the same for all processes, of which the first knows."""
    return bool(as_first(is_finished(place)))


def execute(run: Prepared, console: Console) -> int:
    """Trains, tests and reports; returns the exit code.

    0: finished, or stopped by a signal with everything saved.  2: the directory's checkpoints do not fit.
    3: the loss stopped being finite.  7: the data cannot be read on.

    Raises:
      OSError: a file of the run cannot be written; what was saved before is whole.
    """
    try:
        with run.held:
            return train(run, console)
    except DataError as error:
        intact = f"what is saved in {run.place} is intact; rerun the command to resume"
        complain(f"stopped: {str(error).removesuffix('.')}; {intact}")
        return STOPPED_BY_DATA


def train(run: Prepared, console: Console) -> int:
    """Does what `execute` does, in a directory that is held; DataError: the data cannot be read on."""
    if all_find_finished(run.place):
        show_finished(run, console)
        return 0
    config = run.config
    assert config.batch_size is not None
    compiled = compile_task(run.setup.task, run.mesh, config.batch_size, len(run.dataset.train.labels))
    init_key, data_key = jax.random.split(jax.random.key(config.seed))
    checkpoints = Checkpoints(run.place / "checkpoints", lambda text: say(console, text))
    run.held.callback(checkpoints.close)
    state = compiled.init(init_key)
    try:
        restored = checkpoints.restore(state)
    except MisfitError as error:
        tell(f"the checkpoints in {run.place} are of another version's network: {error}; give a --workdir")
        return WRONG_INPUT
    done = 0
    if restored is not None:
        done, state = restored
        say(console, f"resuming from step {done}")
    twin = run.twin if restored is None or run.needs_reference else None
    if twin is not None and not all_find_finished(twin.place):
        code = train_first(run, twin, console)
        if not all_find_finished(twin.place):
            return code
    elif restored is None and run.is_known:
        say(console, "there is no checkpoint to resume from; starting at the beginning")
    if restored is None:
        state = begin(run, state, init_key, console)
    if is_first():
        remove_unfinished(run.place)
        truncate_metrics(run.place / METRICS, done // run.setup.task.steps_per_epoch)
    stop = run.held.enter_context(stop_on_signals())
    try:
        state = steps_of(run, compiled, checkpoints, data_key, done, state, stop, console)
    except NonFiniteLossError as error:
        kept = checkpoints.latest_step()
        last = f"checkpoint {kept} in {run.place} is the last good one" if kept else "nothing was saved yet"
        tell(f"stopped: {error}; {last}")
        return STOPPED_BY_LOSS
    total = run.setup.task.epochs * run.setup.task.steps_per_epoch
    if stop.signal_name is not None:
        show_stopped(run, stop, int(state.train.step), total, console)
        return 0
    about = {**describe(run.mesh), **made_from(run), "peak_learning_rate": config.peak_learning_rate}
    try:
        results = conclude(
            run.place, config, run.setup, run.dataset, compiled, state.best, about, stop, console
        )
    except StoppedError:
        show_stopped(run, stop, total, total, console)
        return 0
    if results is not None:
        show(console, summary_table(*results))
    say(console, f"report: {run.place / 'report.html'}")
    return 0


def tell(sentence: str) -> None:
    """Prints a sentence on stderr, once for all processes."""
    if is_first():
        complain(sentence)


def show_finished(run: Prepared, console: Console) -> None:
    """Prints the results of a run that is finished."""
    summary, units = (read_json(run.place / name) for name in ("summary.json", "units.json"))
    show(console, summary_table(summary, units))
    say(console, f"this run is finished already; its results are in {run.place}")


def show_stopped(run: Prepared, stop: StopRequest, done: int, total: int, console: Console) -> None:
    """Says where a run that was asked to stop has stopped, and how to resume it."""
    again = "rerun the command" + (" with --resume=auto" if run.config.resume == "never" else "")
    where = f"stopped by {stop.signal_name} at step {done} of {total}; everything is saved in {run.place}"
    say(console, f"{where}; {again} to resume")


def train_first(run: Prepared, twin: Prepared, console: Console) -> int:
    """Trains the full-precision network that a run needs; returns its exit code."""
    pupil = f"{run.config.method} begins from" if run.begins_from_twin else "lcr compares with"
    say(console, f"{pupil} a full-precision network, trained first in {twin.place}")
    return execute(twin, console)


@dataclass
class Recorder:
    """Writes down each epoch that is done: metrics, events, a line on the console."""

    run: Prepared
    display: TrainingDisplay
    write_events: Callable[[dict[str, Any]], None]
    skipped: Counter[str] = field(default_factory=Counter)

    def on_skipped(self, images: int) -> None:
        """Counts damaged images of this process that others stand in for."""
        self.skipped[SKIPPED] += images

    def on_epoch(self, record: dict[str, Any]) -> None:
        """Writes the record of an epoch."""
        if isinstance(self.run.dataset, StreamedDataset):
            record[SKIPPED] = skipped_by_all(self.skipped.pop(SKIPPED, 0))
        if is_first():
            append_metrics(self.run.place / METRICS, record)
        self.write_events(record)
        self.display.epoch_line(record)


def steps_of(
    run: Prepared,
    compiled: Compiled,
    checkpoints: Checkpoints,
    key: jax.Array,
    done: int,
    state: RunState,
    stop: StopRequest,
    console: Console,
) -> RunState:
    """Takes the steps that are left, or those before a request to stop; returns the last state."""
    config, task = run.config, run.setup.task
    assert config.batch_size is not None
    with (
        events_of(run, done) as write_events,
        training_progress(console, task.epochs, task.steps_per_epoch, done) as display,
    ):
        recorder = Recorder(run, display, write_events)
        feed, lower = make_feed(
            config, run.dataset, task, compiled, run.mesh, teachers_of(run), key, recorder.on_skipped
        )
        setting = Fit(
            task=task,
            compiled=compiled,
            feed=feed,
            validation=run.dataset.validation,
            batch_size=config.batch_size,
            checkpoints=checkpoints,
            checkpoint_every=config.checkpoint_every,
            measure=run.setup.measure,
            learning_rate=run.setup.learning_rate,
            on_epoch=recorder.on_epoch,
            display=display,
            stop=stop,
        )
        if done < task.epochs * task.steps_per_epoch:
            compile_ahead(setting, lower, state.train)
        return fit(setting, state)


def events_of(run: Prepared, done: int) -> AbstractContextManager[Callable[[dict[str, Any]], None]]:
    """Returns what writes a run's events, which process 0 does."""
    if is_first():
        return event_writer(run.place, done if run.is_known else None)
    return nullcontext(lambda record: None)


def made_from(run: Prepared) -> dict[str, Any]:
    """Returns what a summary tells of the networks that a run was made from."""
    source, beginning = run.twin if run.begins_from_twin else run.pretrained, run.place / BEGINNING
    teacher, other = run.teachers.get(TARGETS), run.twin if run.needs_reference else run.teachers.get(LCR)
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
    if run.needs_reference:
        assert run.twin is not None
        networks[LCR] = read_trained(run.twin.place, run.dataset)
    return {name: (network.params, network.batch_stats) for name, network in networks.items()}


def begin(run: Prepared, state: RunState, key: jax.Array, console: Console) -> RunState:
    """Returns the state before the first step.

    Args:
      run: whose twin, if it has one, is finished.
      state: of a network with random weights.
      key: that these were made with.
      console: says what the run begins with instead.
    """
    source = run.pretrained
    if run.begins_from_twin:
        assert run.twin is not None
        source = read_trained(run.twin.place, run.dataset)
    if source is None and run.setup.network.method.prepare is None:
        return state
    if source is not None:
        say(console, f"beginning from the network in {source.place}")
    arrays, seconds = first_arrays(run.config, run.setup.network, run.dataset, source, key)
    if seconds is not None:
        say(console, f"prepared the kernels layer by layer in {seconds:.1f} s")
        if is_first():
            write_json(run.place / BEGINNING, {"prepare_seconds": seconds})
    params = {**state.train.params, **arrays.params}  # what a constraint learns is no part of the network
    task = run.setup.task
    first = initial_state(params, arrays.batch_stats, task.optimizer, task.learner.carried())
    return replicate(run.mesh, tree_as_first(first))
