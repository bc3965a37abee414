"""The training loop."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from bnnjax.data.dataset import DataError, Split
from bnnjax.runtime.processes import gather
from bnnjax.train.checkpoint import Checkpoints
from bnnjax.train.feed import Feed, Step
from bnnjax.train.parallel import Compiled
from bnnjax.train.state import RunState, all_finite, keep_best
from bnnjax.train.step import Task
from bnnjax.types import Tree

Record = dict[str, Any]

MOST_STEPS_AHEAD = 16  # steps that may be under way before the loop waits for their result


class NonFiniteLossError(Exception):
    """The loss of a step, or what it is made from, is not a finite number."""

    def __init__(self, step: int, what: str = "the loss") -> None:
        super().__init__(f"{what} is not finite at step {step}")
        self.step = step


class Display(Protocol):
    """What shows progress; see `report.console`."""

    def update(self, *, step: int, loss: float, accuracy: float, images_per_second: float) -> None: ...


@dataclass
class StopRequest:
    """Whether somebody asked the run to stop, and by which signal."""

    signal_name: str | None = None  # that all processes know of
    heard: int = 0  # the number of the signal that this one got

    def agree(self, stride: int) -> int:
        """Tells all processes of a signal that one of them got; returns process 0's stride."""
        told = gather([self.heard, stride])
        if told[:, 0].any():
            self.signal_name = signal.Signals(told[:, 0].max()).name
        return int(told[0, 1])


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


class Scores(NamedTuple):
    """What logits are worth, an entry an image."""

    losses: np.ndarray  # float [n], cross-entropy in nats
    predictions: np.ndarray  # int [n]
    confidences: np.ndarray  # float [n], probability of the predicted class
    ranks: np.ndarray  # int [n], how many classes are found likelier than the true one


def score(logits: np.ndarray, labels: np.ndarray) -> Scores:
    """Scores logits [n, classes] against labels [n], in double precision."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_normalizer = np.log(np.exp(shifted).sum(axis=1))
    true = shifted[np.arange(len(labels)), labels]
    # Of equals the first is predicted; NaN counts as likelier.
    before = np.arange(logits.shape[1]) < labels[:, None]
    likelier = ~(shifted < true[:, None]) & ((shifted != true[:, None]) | before)
    return Scores(log_normalizer - true, logits.argmax(axis=1), np.exp(-log_normalizer), likelier.sum(axis=1))


def accuracy(scores: Scores, among: int = 1) -> float:
    """Returns the percentage of images whose true class is `among` the likeliest so many."""
    return 100 * float(np.mean(scores.ranks < among))


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What a training needs besides its state."""

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
    """Trains from `state` to the last epoch, or to the step at which a stop is asked for.

    Checkpoints are written at the end of epochs and at a stop; going on from any of them gives the same
    parameters, bit for bit, as never having stopped.

    Args:
      run: all that stays the same.
      state: where to go on from; consumed.

    Raises:
      NonFiniteLossError: at the first step whose loss is not finite, or at a checkpoint whose state or
        validation loss is not; no checkpoint is written of such a state or after it.
      DataError: there is no next batch; the state before it is saved.
    """
    with closing(run.feed(int(state.train.step))) as feed:
        return _fit(run, feed, state)


def save_if_good(run: Fit, done: int, state: RunState) -> None:
    """Saves a state that is not saved yet, unless a number in it or the loss is not finite.

    One of many processes cannot: all save together, and the others do not know yet.
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
    compiled_yet = False
    for epoch in range(done // steps + 1, epochs + 1):
        # --- train
        epoch_began = timed_from = waited_at = time.perf_counter()
        timed_steps, ahead, stride = 0, 0, 1
        while done < epoch * steps:
            try:
                step = next(feed)
            except DataError:
                save_if_good(run, done, RunState(train, best))
                raise
            train = step(train)
            done, timed_steps, ahead = done + 1, timed_steps + 1, ahead + 1
            if ahead >= stride or run.stop.signal_name or done == epoch * steps:
                totals = jax.device_get(train.totals)
                if totals.bad_step >= 0:
                    raise NonFiniteLossError(int(totals.bad_step))
                now = time.perf_counter()
                # Wait about once a second: often enough to show progress and to heed a signal.
                stride = min(max(int(ahead / max(now - waited_at, 1e-9)), 1), MOST_STEPS_AHEAD)
                stride = run.stop.agree(stride)
                waited_at, ahead = now, 0
                if not compiled_yet:  # the first step's compilation is not a matter of speed
                    compiled_yet = True
                    if done < epoch * steps:
                        timed_from, timed_steps = now, 0
                speed = timed_steps * run.batch_size / max(now - timed_from, 1e-9)
                run.display.update(
                    step=done,
                    loss=float(totals.loss / totals.steps),
                    accuracy=100 * float(totals.correct / totals.steps),
                    images_per_second=speed,
                )
            if (run.stop.signal_name or done == epoch * steps) and not all_finite(train):
                # The next step's loss would tell, but the last good checkpoint must not give way to this.
                raise NonFiniteLossError(done, "the state of training")
            if run.stop.signal_name and done < epoch * steps:
                run.checkpoints.save(done, RunState(train, best))
                return RunState(train, best)
        # --- validate
        logits = run.compiled.predict(train.params, train.batch_stats, run.validation.images)
        if not np.isfinite(logits).all():
            raise NonFiniteLossError(done, "the validation loss")
        scores = score(logits, run.validation.labels)
        validation_accuracy = accuracy(scores)
        best = keep_best(best, train, epoch, validation_accuracy)
        # --- record, then save: a record without its checkpoint is cut off on resumption
        run.on_epoch(
            {
                "epoch": epoch,
                "step": done,
                "loss": float(totals.loss / totals.steps),
                "task_loss": float(totals.task_loss / totals.steps),
                "penalty": float(totals.penalty / totals.steps),
                "train_accuracy": 100 * float(totals.correct / totals.steps),
                "validation_loss": float(scores.losses.mean()),
                "validation_accuracy": validation_accuracy,
                **run.measure(train.params, train.batch_stats),
                "learning_rate": float(run.learning_rate(done - 1)),
                "images_per_second": speed,
                "seconds": time.perf_counter() - epoch_began,
            }
        )
        if epoch % run.checkpoint_every == 0 or epoch == epochs or run.stop.signal_name:
            run.checkpoints.save(done, RunState(train, best))
        if run.stop.signal_name:
            break
    return RunState(train, best)
