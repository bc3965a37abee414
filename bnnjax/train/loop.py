"""The training loop."""

import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import jax
import numpy as np

from bnnjax.data.dataset import DataError, Split
from bnnjax.runtime.processes import gather
from bnnjax.train.checkpoint import Checkpoints
from bnnjax.train.feed import Feed, Step
from bnnjax.train.pace import Pace
from bnnjax.train.parallel import Compiled
from bnnjax.train.score import accuracy, score
from bnnjax.train.state import RunState, Totals, TrainState, all_finite, keep_best
from bnnjax.train.step import Task
from bnnjax.types import Tree

Record = dict[str, Any]
T = TypeVar("T")


class NonFiniteLossError(Exception):
    """The loss of a step, or the state that it is computed from, is not finite."""

    def __init__(self, step: int, what: str = "the loss") -> None:
        super().__init__(f"{what} is not finite at step {step}")
        self.step = step


class StoppedError(Exception):
    """Somebody asked to stop while there was nothing left to save."""


class Display(Protocol):
    """What shows progress; see `report.run.console`."""

    def update(self, *, step: int, loss: float, accuracy: float, images_per_second: float) -> None: ...


@dataclass
class StopRequest:
    """Whether a signal has asked the run to stop, and which."""

    signal_name: str | None = None  # that all processes know of
    heard: int = 0  # the number of the signal that this one got

    def agree(self, stride: int) -> int:
        """Shares a signal that one process got with all processes; returns process 0's stride."""
        told = gather([self.heard, stride])
        if told[:, 0].any():
            self.signal_name = signal.Signals(told[:, 0].max()).name
        return int(told[0, 1])

    def check(self) -> None:
        """Raises StoppedError, in all processes, if one of them was asked to stop."""
        self.agree(0)
        if self.signal_name is not None:
            raise StoppedError

    def before(self, call: Callable[..., T]) -> Callable[..., T]:
        """Returns the function; it checks first."""
        return partial(self._check_and_call, call)

    def _check_and_call(self, call: Callable[..., T], *arguments: Any) -> T:
        self.check()
        return call(*arguments)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turns SIGTERM and SIGINT into a request to stop after the current step; a second one acts as usual."""
    request = StopRequest()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def handler(number: int, frame: object) -> None:
        request.heard = number
        if jax.process_count() == 1:
            request.signal_name = signal.Signals(number).name
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, handler)
    try:
        yield request
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What training needs besides its state."""

    task: Task
    compiled: Compiled
    feed: Feed
    validation: Split  # on the host
    batch_size: int
    checkpoints: Checkpoints
    checkpoint_every: int  # epochs
    # (params, batch_stats) -> figures that every epoch's record gets
    measure: Callable[[Tree, Tree], dict[str, float]]
    learning_rate: Callable[[int], Any]
    # is given the record of each finished epoch, before the epoch's checkpoint is written
    on_epoch: Callable[[Record], None]
    display: Display
    stop: StopRequest


def fit(run: Fit, state: RunState) -> RunState:
    """Trains from `state` to the last epoch, or to the step at which a stop is requested.

    Checkpoints are written at the end of epochs and at a stop; resuming from any of them gives the same
    parameters, bit for bit, as an uninterrupted run.

    Args:
      run: everything that does not change.
      state: where to resume from; consumed.

    Raises:
      NonFiniteLossError: at the first step whose loss is not finite, or at a checkpoint whose state or
        validation loss is not; neither such a state nor a later one is saved.
      DataError: there is no next batch; the state before it is saved.
    """
    with closing(run.feed(int(state.train.step))) as feed:
        return _fit(run, feed, state)


def save_if_good(run: Fit, done: int, state: RunState) -> None:
    """Saves a state that is not saved yet, unless a number in it or the loss is not finite.

    With several processes nothing is saved: all save together, and the others do not know yet.
    """
    if jax.process_count() > 1:
        return
    is_good = int(state.train.totals.bad_step) < 0 and bool(all_finite(state.train))
    if done and is_good and run.checkpoints.latest_step() != done:
        run.checkpoints.save(done, state)


def _fit(run: Fit, feed: Iterator[Step], state: RunState) -> RunState:
    steps, epochs = run.task.steps_per_epoch, run.task.epochs
    train, best = state
    done = int(train.step)
    pace = Pace(run.batch_size)
    for epoch in range(done // steps + 1, epochs + 1):
        pace.begin_epoch()
        while done < epoch * steps:
            step = _next_step(run, feed, done, RunState(train, best))
            train = step(train)
            done += 1
            pace.count_step()
            is_last = done == epoch * steps
            if pace.is_wait_due or run.stop.signal_name or is_last:
                totals = _totals(train)
                pace.waited(epoch_is_over=is_last)
                pace.stride = run.stop.agree(pace.stride)
                _show(run.display, done, totals, pace)
                stops_here = run.stop.signal_name is not None and not is_last
                if (stops_here or is_last) and not all_finite(train):
                    # The next step's loss would tell, but this must not replace the last good checkpoint.
                    raise NonFiniteLossError(done, "the state of training")
                if stops_here:
                    run.checkpoints.save(done, RunState(train, best))
                    return RunState(train, best)
        validation = _validation_figures(run, done, train)
        best = keep_best(best, train, epoch, validation["validation_accuracy"])
        # Recorded, then saved: a record without its checkpoint is cut off on resumption.
        run.on_epoch(_record(run, epoch, done, train, totals, validation, pace))
        stops = run.stop.signal_name is not None
        if epoch % run.checkpoint_every == 0 or epoch == epochs or stops:
            run.checkpoints.save(done, RunState(train, best))
        if stops:
            break
    return RunState(train, best)


def _next_step(run: Fit, feed: Iterator[Step], done: int, state: RunState) -> Step:
    """Returns the next step; if there is none, saves the state before raising the DataError."""
    try:
        return next(feed)
    except DataError:
        save_if_good(run, done, state)
        raise


def _totals(train: TrainState) -> Totals:
    """Waits for all steps so far and returns the epoch's totals, on the host.

    Raises:
      NonFiniteLossError: the loss of one of them was not finite.
    """
    totals = jax.device_get(train.totals)
    if totals.bad_step >= 0:
        raise NonFiniteLossError(int(totals.bad_step))
    return totals


def _training_figures(totals: Totals) -> Record:
    """Returns the means over the epoch's steps so far."""
    return {
        "loss": float(totals.loss / totals.steps),
        "task_loss": float(totals.task_loss / totals.steps),
        "penalty": float(totals.penalty / totals.steps),
        "train_accuracy": 100 * float(totals.correct / totals.steps),
    }


def _show(display: Display, done: int, totals: Totals, pace: Pace) -> None:
    means = _training_figures(totals)
    display.update(
        step=done,
        loss=means["loss"],
        accuracy=means["train_accuracy"],
        images_per_second=pace.images_per_second,
    )


def _validation_figures(run: Fit, done: int, train: TrainState) -> Record:
    """Returns loss and accuracy on the validation images.

    Raises:
      NonFiniteLossError: the network's outputs are not finite.
    """
    logits = run.compiled.predict(train.params, train.batch_stats, run.validation.images)
    if not np.isfinite(logits).all():
        raise NonFiniteLossError(done, "the validation loss")
    scores = score(logits, run.validation.labels)
    return {"validation_loss": float(scores.losses.mean()), "validation_accuracy": accuracy(scores)}


def _record(
    run: Fit, epoch: int, done: int, train: TrainState, totals: Totals, validation: Record, pace: Pace
) -> Record:
    """Returns the record of a finished epoch."""
    return {
        "epoch": epoch,
        "step": done,
        **_training_figures(totals),
        **validation,
        **run.measure(train.params, train.batch_stats),
        "learning_rate": float(run.learning_rate(done - 1)),
        "images_per_second": pace.images_per_second,
        "seconds": pace.epoch_seconds(),
    }
