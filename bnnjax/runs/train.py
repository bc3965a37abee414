"""A plan is executed: each stage resumes or begins, trains, tests and reports."""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from bnnjax.data import StreamedDataset
from bnnjax.data.dataset import DataError
from bnnjax.native.library import kernels
from bnnjax.report.run.console import TrainingDisplay, summary_table, training_progress
from bnnjax.report.run.tensorboard import event_writer
from bnnjax.runs.begin import first_state, made_from, teachers_of
from bnnjax.runs.directory import is_finished
from bnnjax.runs.input import SKIPPED, make_feed, skipped_by_all
from bnnjax.runs.plan import Plan, Stage
from bnnjax.runs.results import conclude
from bnnjax.runs.saved import latest_state
from bnnjax.runtime.console import complain, say, show
from bnnjax.runtime.exit_codes import STOPPED_BY_DATA, STOPPED_BY_LOSS, WRONG_INPUT
from bnnjax.runtime.files import append_metrics, read_json, remove_unfinished, truncate_metrics
from bnnjax.runtime.processes import as_first, is_first
from bnnjax.train.ahead import compile_ahead
from bnnjax.train.checkpoint import Checkpoints, MisfitError
from bnnjax.train.loop import Fit, NonFiniteLossError, StoppedError, StopRequest, fit, stop_on_signals
from bnnjax.train.parallel import Compiled, compile_task, describe
from bnnjax.train.state import RunState

METRICS = "metrics.jsonl"


def all_find_finished(place: Path) -> bool:
    """Returns the same for all processes, of which the first knows."""
    return bool(as_first(is_finished(place)))


def execute(plan: Plan, console: Console) -> int:
    """Trains, tests and reports each stage of a plan in turn; returns the exit code.

    0: finished, or stopped by a signal with everything saved.  2: the directory's checkpoints do not fit.
    3: the loss stopped being finite.  7: the data cannot be read any more.

    Raises:
      OSError: a file of the run cannot be written; what was saved before is whole.
    """
    with plan.held:
        stages = stages_left(plan)
        for stage in stages:
            if stage is not plan.run:
                show_first(stage, plan.run, console)
            try:
                code = train(stage, console, expects_checkpoint=stage.is_known and stage is stages[0])
            except DataError as error:
                intact = f"what is saved in {stage.place} is intact; rerun the command to resume"
                complain(f"stopped: {str(error).removesuffix('.')}; {intact}")
                return STOPPED_BY_DATA
            if code or not all_find_finished(stage.place):
                return code
    return 0


def stages_left(plan: Plan) -> list[Stage]:
    """Returns the stages that are to be executed; the run itself always is, if only to show its results."""
    return [stage for stage in plan.stages if stage is plan.run or is_needed(stage, plan.run)]


def is_needed(twin: Stage, run: Stage) -> bool:
    """Returns whether a run's twin is to be trained, the same for all processes, of which the first knows.

    A twin that training only begins from may be gone once the run has a checkpoint.
    """
    needed = (
        is_first()
        and not is_finished(twin.place)
        and (run.config.compares_with_twin or latest_state(run.place) is None)
    )
    return bool(as_first(needed))


def show_first(twin: Stage, run: Stage, console: Console) -> None:
    """Says that a run's full-precision twin is trained, and what for."""
    pupil = f"{run.config.method} begins from" if run.begins_from_twin else "lcr compares with"
    say(console, f"{pupil} a full-precision network, trained first in {twin.place}")


def train(stage: Stage, console: Console, *, expects_checkpoint: bool) -> int:
    """Trains, tests and reports one stage; returns the exit code.

    Args:
      stage: whose directory is held.
      console: for what there is to tell.
      expects_checkpoint: whether to say so if there is nothing to resume from.

    Raises:
      DataError: the data cannot be read any more.
      OSError: as `execute`.
    """
    if all_find_finished(stage.place):
        show_finished(stage, console)
        return 0
    config, task = stage.config, stage.setup.task
    compiled = compile_task(task, stage.mesh, config.batch_size, len(stage.dataset.train.labels))
    init_key, data_key = jax.random.split(jax.random.key(config.seed))
    with closing(Checkpoints(stage.place / "checkpoints", lambda text: say(console, text))) as checkpoints:
        try:
            done, state = resume_or_begin(
                stage, compiled, checkpoints, init_key, console, expects_checkpoint=expects_checkpoint
            )
            with stop_on_signals() as stop:
                state = steps_of(stage, compiled, checkpoints, data_key, done, state, stop, console)
                finish(stage, compiled, state, stop, console)
        except MisfitError as error:
            other = f"the checkpoints in {stage.place} are of another version's network: {error}"
            tell(f"{other}; give a --workdir")
            return WRONG_INPUT
        except NonFiniteLossError as error:
            kept, last = checkpoints.latest_step(), "nothing was saved yet"
            if kept:
                last = f"checkpoint {kept} in {stage.place} is the last good one"
            tell(f"stopped: {error}; {last}")
            return STOPPED_BY_LOSS
    return 0


def finish(stage: Stage, compiled: Compiled, state: RunState, stop: StopRequest, console: Console) -> None:
    """Tests the best network and writes the report, unless there is a request to stop."""
    about = {
        **describe(stage.mesh),
        **made_from(stage),
        "kernels": kernels() if stage.config.kernels == "native" else "xla",
        "peak_learning_rate": stage.config.peak_learning_rate,
    }
    try:
        stop.check()
        results = conclude(stage, compiled, state.best, about, stop, console)
    except StoppedError:
        show_stopped(stage, stop, int(state.train.step), console)
        return
    if results is not None:
        show(console, summary_table(*results))
    say(console, f"report: {stage.place / 'report.html'}")


def resume_or_begin(
    stage: Stage,
    compiled: Compiled,
    checkpoints: Checkpoints,
    key: jax.Array,
    console: Console,
    *,
    expects_checkpoint: bool,
) -> tuple[int, RunState]:
    """Returns the steps that are done and the state after them; what was written later is removed.

    Args:
      stage: as for `train`.
      compiled: its task.
      checkpoints: its own.
      key: for random weights.
      console: as for `train`.
      expects_checkpoint: as for `train`.

    Raises:
      MisfitError: the latest checkpoint is of another network.
    """
    state = compiled.init(key)
    restored = checkpoints.restore(state)
    if restored is not None:
        done, state = restored
        say(console, f"resuming from step {done}")
    else:
        if expects_checkpoint:
            say(console, "there is no checkpoint to resume from; starting at the beginning")
        done, state = 0, first_state(stage, state, key, console)
    if is_first():
        remove_unfinished(stage.place)
        truncate_metrics(stage.place / METRICS, done // stage.setup.task.steps_per_epoch)
    return done, state


def tell(sentence: str) -> None:
    """Prints a sentence on stderr, once for all processes."""
    if is_first():
        complain(sentence)


def show_finished(stage: Stage, console: Console) -> None:
    """Prints the results of a run that is finished."""
    summary, units = (read_json(stage.place / name) for name in ("summary.json", "units.json"))
    show(console, summary_table(summary, units))
    say(console, f"this run is finished already; its results are in {stage.place}")


def show_stopped(stage: Stage, stop: StopRequest, done: int, console: Console) -> None:
    """Says where a run that was asked to stop has stopped, and how to resume it."""
    total = stage.setup.task.epochs * stage.setup.task.steps_per_epoch
    again = "rerun the command" + (" with --resume=auto" if stage.config.resume == "never" else "")
    where = f"stopped by {stop.signal_name} at step {done} of {total}; everything is saved in {stage.place}"
    say(console, f"{where}; {again} to resume")


@dataclass
class Recorder:
    """Writes down each epoch that is done: metrics, events, a line on the console."""

    stage: Stage
    display: TrainingDisplay
    write_events: Callable[[dict[str, Any]], None]
    skipped: Counter[str] = field(default_factory=Counter)

    def on_skipped(self, images: int) -> None:
        """Counts damaged images of this process that others stand in for."""
        self.skipped[SKIPPED] += images

    def on_epoch(self, record: dict[str, Any]) -> None:
        """Writes the record of an epoch."""
        if isinstance(self.stage.dataset, StreamedDataset):
            record[SKIPPED] = skipped_by_all(self.skipped.pop(SKIPPED, 0))
        if is_first():
            append_metrics(self.stage.place / METRICS, record)
        self.write_events(record)
        self.display.epoch_line(record)


def steps_of(
    stage: Stage,
    compiled: Compiled,
    checkpoints: Checkpoints,
    key: jax.Array,
    done: int,
    state: RunState,
    stop: StopRequest,
    console: Console,
) -> RunState:
    """Takes the steps that are left, or those before a request to stop; returns the last state."""
    config, task = stage.config, stage.setup.task
    with (
        events_of(stage, done) as write_events,
        training_progress(console, task.epochs, task.steps_per_epoch, done) as display,
    ):
        recorder = Recorder(stage, display, write_events)
        feed, lower = make_feed(
            config, stage.dataset, task, compiled, stage.mesh, teachers_of(stage), key, recorder.on_skipped
        )
        setting = Fit(
            task=task,
            compiled=compiled,
            feed=feed,
            validation=stage.dataset.validation,
            batch_size=config.batch_size,
            checkpoints=checkpoints,
            checkpoint_every=config.checkpoint_every,
            measure=stage.setup.measure,
            learning_rate=stage.setup.learning_rate,
            on_epoch=recorder.on_epoch,
            display=display,
            stop=stop,
        )
        if done < task.epochs * task.steps_per_epoch:
            compile_ahead(setting, lower, state.train)
        return fit(setting, state)


def events_of(stage: Stage, done: int) -> AbstractContextManager[Callable[[dict[str, Any]], None]]:
    """Returns what writes a run's events, which process 0 does."""
    if is_first():
        return event_writer(stage.place, done if stage.is_known else None)
    return nullcontext(lambda record: None)
