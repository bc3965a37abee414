"""The training loop: its records and checkpoints, stopping, and errors."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnnjax.data import Split
from bnnjax.train.checkpoint import Checkpoints
from bnnjax.train.feed import Resident
from bnnjax.train.loop import Fit, NonFiniteLossError, StoppedError, StopRequest, fit, stop_on_signals
from bnnjax.train.parallel import compile_task, make_mesh
from bnnjax.train.score import accuracy, score
from bnnjax.train.state import RunState
from bnnjax.train.step import Images, Task

STEPS, BATCH, EXAMPLES = 4, 8, 35
MakeTask, MakeState = Callable[..., Task], Callable[[Task], RunState]


class Display:
    """Keeps what it is shown, and may call a function then."""

    def __init__(self, on_update: Callable[[int], None] = lambda step: None) -> None:
        self.steps: list[int] = []
        self.on_update = on_update

    def update(self, *, step: int, loss: float, accuracy: float, images_per_second: float) -> None:
        self.steps.append(step)
        self.on_update(step)


MakeFit = Callable[..., tuple[Fit, list[dict[str, Any]]]]


@pytest.fixture
def make_fit(tmp_path: Path, split: Split) -> Iterator[MakeFit]:
    """make_fit(task, field=value, ...): the run and the list that its records go to."""
    opened: list[Checkpoints] = []

    def made(task: Task, examples: int = EXAMPLES, **fields: Any) -> tuple[Fit, list[dict[str, Any]]]:
        records: list[dict[str, Any]] = []
        opened.append(Checkpoints(tmp_path / "checkpoints", print))
        compiled = compile_task(task, make_mesh(BATCH, jax.devices()[:1]), BATCH, examples)
        data = Images(jnp.asarray(split.images), jnp.asarray(split.labels))
        plain: dict[str, Any] = {
            "task": task,
            "compiled": compiled,
            "feed": Resident(compiled, data, jax.random.key(0), task.steps_per_epoch),
            "validation": Split(split.images[:10], split.labels[:10]),
            "batch_size": BATCH,
            "checkpoints": opened[-1],
            "checkpoint_every": 1,
            "measure": lambda params, batch_stats: {"log_lipschitz_bound": 1.5},
            "learning_rate": lambda step: step / 100,
            "on_epoch": records.append,
            "display": Display(),
            "stop": StopRequest(),
        }
        return Fit(**(plain | fields)), records

    yield made
    for checkpoints in opened:
        checkpoints.close()


def bits(tree: object) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def without_times(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in record.items() if key not in ("seconds", "images_per_second")}
        for record in records
    ]


def test_every_epoch_has_one_record_of_all_figures(
    make_fit: MakeFit, make_task: MakeTask, make_state: MakeState
) -> None:
    task = make_task(penalty=lambda units, carried: (jnp.float32(0.25), carried))
    run, records = make_fit(task)
    state = fit(run, make_state(task))
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert [record["step"] for record in records] == [4, 8, 12]
    assert int(state.train.step) == 12
    assert list(records[0]) == [
        "epoch",
        "step",
        "loss",
        "task_loss",
        "penalty",
        "train_accuracy",
        "validation_loss",
        "validation_accuracy",
        "log_lipschitz_bound",
        "learning_rate",
        "images_per_second",
        "seconds",
    ]
    for record in records:
        assert record["penalty"] == 0.25
        assert record["loss"] == pytest.approx(record["task_loss"] + 0.25)
        assert record["learning_rate"] == (record["step"] - 1) / 100
        assert record["images_per_second"] > 0
        assert record["seconds"] > 0
        assert 0 <= record["train_accuracy"] <= 100


def test_validation_figures_are_those_of_the_network_after_the_epoch(
    make_fit: MakeFit, make_task: MakeTask, make_state: MakeState
) -> None:
    task = make_task(epochs=1)
    run, records = make_fit(task)
    state = fit(run, make_state(task))
    logits = run.compiled.predict(state.train.params, state.train.batch_stats, run.validation.images)
    scores = score(logits, run.validation.labels)
    assert records[0]["validation_accuracy"] == accuracy(scores)
    assert records[0]["validation_loss"] == float(scores.losses.mean())


def test_an_epoch_of_one_step_has_a_speed(
    make_fit: MakeFit, make_task: MakeTask, make_state: MakeState
) -> None:
    task = make_task(epochs=2, steps_per_epoch=1)
    run, records = make_fit(task, examples=BATCH)
    fit(run, make_state(task))
    assert all(record["images_per_second"] > 0 for record in records)


@pytest.mark.parametrize(("every", "expected"), [(1, [8, 12]), (2, [8, 12]), (9, [12])])
def test_checkpoints_are_saved_each_so_many_epochs_and_at_the_end(
    make_fit: MakeFit,
    make_task: MakeTask,
    make_state: MakeState,
    tmp_path: Path,
    every: int,
    expected: list[int],
) -> None:
    task = make_task()
    run, _ = make_fit(task, checkpoint_every=every)
    fit(run, make_state(task))
    assert sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == expected


@pytest.mark.parametrize("stop_at", [1, 3, 4, 6])
def test_a_stopped_run_goes_on_to_the_same_bits_and_records(
    make_fit: MakeFit, make_task: MakeTask, make_state: MakeState, stop_at: int, tmp_path: Path
) -> None:
    task = make_task()
    whole, all_records = make_fit(task, checkpoints=Checkpoints(tmp_path / "other", print))
    expected = fit(whole, make_state(task))
    whole.checkpoints.close()

    stop = StopRequest()

    def ask(step: int) -> None:
        if step >= stop_at:
            stop.signal_name = "SIGTERM"

    first, early = make_fit(task, stop=stop, display=Display(ask))
    stopped = fit(first, make_state(task))
    assert int(stopped.train.step) == first.checkpoints.latest_step() < 12
    second, late = make_fit(task)
    restored = second.checkpoints.restore(make_state(task))
    assert restored is not None
    assert bits(restored[1]) == bits(stopped)
    assert bits(fit(second, restored[1])) == bits(expected)
    assert without_times(early + late) == without_times(all_records)


def test_a_stop_at_the_end_of_an_epoch_saves_even_where_no_checkpoint_is_due(
    make_fit: MakeFit, make_task: MakeTask, make_state: MakeState
) -> None:
    stop = StopRequest()
    run, records = make_fit(
        make_task(),
        stop=stop,
        checkpoint_every=3,
        on_epoch=lambda record: setattr(stop, "signal_name", "SIGINT"),
    )
    fit(run, make_state(run.task))
    assert records == []  # replaced
    assert run.checkpoints.latest_step() == STEPS


def bad_from(step: int, value: float) -> Callable[[Any, Any], tuple[jax.Array, Any]]:
    """A penalty that is not finite at that step of the run, counted from 1, and after."""
    return lambda units, carried: (jnp.where(units[1]["count"] >= step - 1, value, 0.0), carried)


@pytest.mark.parametrize(
    ("step", "value"), [(1, np.nan), (4, np.inf), (5, -np.inf), (7, np.nan), (12, np.inf)]
)
def test_a_loss_that_is_not_finite_ends_the_run_at_its_step(
    make_fit: MakeFit, make_task: MakeTask, make_state: MakeState, step: int, value: float
) -> None:
    task = make_task(penalty=bad_from(step, value))
    run, records = make_fit(task)
    with pytest.raises(NonFiniteLossError, match=f"^the loss is not finite at step {step}$") as raised:
        fit(run, make_state(task))
    assert raised.value.step == step
    good_epochs = (step - 1) // STEPS
    assert len(records) == good_epochs
    assert run.checkpoints.latest_step() == (good_epochs * STEPS or None)


def spoil_at(step: int, value: float) -> Callable[[Any, Any, Any, Any], Any]:
    """Sets a parameter to `value` after that step's update, whose own loss was still finite."""
    return lambda params, batch_stats, gradients, carried: (
        params | {"bias": jnp.where(batch_stats["count"] == step, value, params["bias"])},
        batch_stats,
    )


# At the end of an epoch the loss is good and the network is not: it must not displace the last good one.
@pytest.mark.parametrize(
    ("value", "what"), [(np.nan, "the state of training"), (3e38, "the validation loss")]
)
def test_a_state_that_is_not_good_is_never_saved(
    make_fit: MakeFit, make_task: MakeTask, make_state: MakeState, value: float, what: str
) -> None:
    def overflowing(params: Any, batch_stats: Any, images: Any, schedule: Any, train: bool) -> Any:
        logits = jnp.mean(images, axis=(1, 2)) @ params["kernel"] + params["bias"] * 10
        return logits, {"count": batch_stats["count"] + train}, (params, batch_stats, schedule)

    task = make_task(forward=overflowing, after_update=spoil_at(2 * STEPS, value))
    run, records = make_fit(task)
    with pytest.raises(NonFiniteLossError, match=f"{what} is not finite at step 8"):
        fit(run, make_state(task))
    assert run.checkpoints.latest_step() == STEPS
    assert len(records) == 1


def test_a_stop_does_not_save_a_state_that_is_not_finite(
    make_fit: MakeFit, make_task: MakeTask, make_state: MakeState
) -> None:
    task = make_task(after_update=spoil_at(1, np.nan))
    run, _ = make_fit(task, stop=StopRequest("SIGTERM"))
    with pytest.raises(NonFiniteLossError, match="step 1"):
        fit(run, make_state(task))
    assert run.checkpoints.latest_step() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_becomes_a_request_and_handlers_are_put_back(number: signal.Signals) -> None:
    seen: list[int] = []
    before = signal.signal(number, lambda received, frame: seen.append(received))
    ours = signal.getsignal(number)
    try:
        with stop_on_signals() as stop:
            assert stop.signal_name is None
            os.kill(os.getpid(), number)
            assert stop.signal_name == number.name
            assert seen == []
            os.kill(os.getpid(), number)  # the second one acts as usual
            assert seen == [number]
        assert signal.getsignal(number) is ours
    finally:
        signal.signal(number, before)


def test_what_is_called_after_a_request_ends_instead() -> None:
    stop, called = StopRequest(), []
    call = stop.before(called.append)
    call(1)
    stop.heard = signal.SIGTERM
    with pytest.raises(StoppedError):
        call(2)
    assert (called, stop.signal_name) == ([1], "SIGTERM")


def test_handlers_are_put_back_after_an_error() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(KeyError), stop_on_signals():
        raise KeyError
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
