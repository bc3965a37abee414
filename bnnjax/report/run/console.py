"""Progress of a training run in the terminal or in a log, and the table at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnnjax.report.style.formatting import (
    MISSING,
    clock_text,
    count_text,
    duration_text,
    number_text,
    tightness_range,
    units_off,
)
from bnnjax.runtime.console import say

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID
    from rich.table import Table


COMPILING = "compiling the training step"


@dataclass
class TrainingDisplay:
    """A progress bar in a terminal, plain lines elsewhere; made by `training_progress`."""

    console: Console
    epochs: int
    steps_per_epoch: int
    clock: Callable[[], float]  # seconds
    progress: Progress | None  # None: not a terminal
    task: TaskID | None
    started: tuple[float, int] | None = None  # clock and step of the first update

    def update(
        self,
        *,
        step: int,
        loss: float | None = None,
        accuracy: float | None = None,
        images_per_second: float | None = None,
    ) -> None:
        """Moves the bar to a step; does nothing when the output is not a terminal.

        Args:
          step: steps done since the beginning of training, earlier processes included.
          loss: the current training loss.
          accuracy: the current training accuracy in percent.
          images_per_second: the current speed.
        """
        if self.progress is None or self.task is None:
            return
        figures = (
            f"loss {number_text(loss, '.3f')}  acc {number_text(accuracy, '.1f', '%')}"
            f"  {number_text(images_per_second, '.0f')} images/s"
        )
        self.progress.update(
            self.task,
            completed=step,
            description=f"epoch {self._epoch(step)}/{self.epochs}",
            figures=figures,
            left=f"{self._time_left(step)} left",
        )

    def epoch_line(self, record: Mapping[str, Any]) -> None:
        """Prints one line for a finished epoch, above the bar if there is one."""
        say(self.console, epoch_text(record, self.epochs))

    def _epoch(self, step: int) -> int:
        return min(step // self.steps_per_epoch + 1, self.epochs)

    def _time_left(self, step: int) -> str:
        # Counted from the first update, because compilation comes before it and only once. The mean over the
        # whole run includes validation, which a short window would include only now and then.
        now = self.clock()
        if self.started is None:
            self.started = (now, step)
        first_time, first_step = self.started
        if step <= first_step:
            return MISSING
        return clock_text(
            (now - first_time) / (step - first_step) * (self.epochs * self.steps_per_epoch - step)
        )


@contextmanager
def training_progress(
    console: Console,
    epochs: int,
    steps_per_epoch: int,
    first_step: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[TrainingDisplay]:
    """Shows training while the context is open, starting with the compilation of the training step.

    Args:
      console: to print on; if it is not an interactive terminal it gets plain lines without escape codes.
      epochs: of the whole run.
      steps_per_epoch: at least 1.
      first_step: steps done before, when the run is resumed.
      clock: returns the seconds of a monotonic clock.

    Yields:
      The display: call `update` every few steps and `epoch_line` once per epoch.

    Raises:
      ValueError: `epochs` or `steps_per_epoch` below 1.
    """
    if epochs < 1 or steps_per_epoch < 1:
        raise ValueError(f"epochs and steps_per_epoch must be at least 1, got {epochs} and {steps_per_epoch}")
    if not console.is_interactive:
        if first_step < epochs * steps_per_epoch:
            console.print(COMPILING, markup=False, highlight=False)
        yield TrainingDisplay(console, epochs, steps_per_epoch, clock, None, None)
        return

    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f}%", markup=False),
        TextColumn("{task.fields[figures]}", markup=False),
        TextColumn("{task.fields[left]}", markup=False),
    )
    with Progress(*columns, console=console, expand=True) as progress:
        display = TrainingDisplay(console, epochs, steps_per_epoch, clock, progress, None)
        display.task = progress.add_task(
            f"epoch {display._epoch(first_step)}/{epochs}",
            total=epochs * steps_per_epoch,
            completed=first_step,
            figures=COMPILING,
            left="",
        )
        yield display


def epoch_text(record: Mapping[str, Any], epochs: int) -> str:
    """Returns one epoch's line, without what the record lacks.

    Args:
      record: the epoch's metrics.
      epochs: of the whole run.

    Returns:
      One line, at most 80 characters for usual values.
    """
    parts = [f"epoch {record.get('epoch', MISSING):>{len(str(epochs))}}/{epochs}"]
    for key, name, spec, unit in (
        ("loss", "loss ", ".3f", ""),
        ("train_accuracy", "train ", ".1f", "%"),
        ("validation_accuracy", "val ", ".1f", "%"),
        ("log_lipschitz_bound", "log L ", ".1f", ""),
        ("images_per_second", "", ".0f", "img/s"),
    ):
        if key in record:
            parts.append(name + number_text(record[key], spec, unit))
    if record.get("units_off"):
        parts.append(f"{record['units_off']} off")
    return "  ".join(parts)


def summary_table(summary: Mapping[str, Any], units: Sequence[Mapping[str, Any]]) -> Table:
    """Builds the table printed when a run ends.

    Args:
      summary: the flat content of summary.json; missing keys show as a dash.
      units: one mapping per unit with `tightness` and `off`; may be empty.

    Returns:
      A table that fits 80 columns; long values are folded, never cut.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Result", box=box.SIMPLE_HEAD, show_header=False, title_justify="left")
    table.add_column("quantity", no_wrap=True, style="bold")
    table.add_column("value", overflow="fold")
    for name, value in result_rows(summary, units):
        table.add_row(name, Text(value))
    return table


def result_rows(summary: Mapping[str, Any], units: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Returns name and value of every row of the final table."""

    def text(key: str) -> str:
        return str(summary.get(key, MISSING))

    ratios = tightness_range(units)
    tightness = f"median {ratios[0]:.2f}, max {ratios[1]:.2f}" if ratios else MISSING
    off = f"{units_off(units, summary)} of {len(units)}" if units else count_text(summary.get("units_off"))
    kind = f" ({summary['device_kind']})" if summary.get("device_kind") else ""
    return [
        ("data set", text("dataset")),
        ("model", text("model")),
        ("method", f"{text('method')}, {text('bits')} bits (weights/activations)"),
        ("constraint", text("constraint")),
        ("test accuracy", number_text(summary.get("test_accuracy"), ".2f", "%")),
        (
            "accuracy under noise (quick)",
            number_text(summary.get("quick_corruption_accuracy"), ".2f", "%"),
        ),
        ("validation accuracy", number_text(summary.get("validation_accuracy"), ".2f", "%")),
        ("log Lipschitz bound (surrogate)", number_text(summary.get("log_lipschitz_bound"), ".2f", "nats")),
        ("tightness", tightness),
        ("dead units", off),
        ("training time", duration_text(summary.get("train_seconds"))),
        ("images/s", number_text(summary.get("images_per_second"), ",.1f")),
        ("parameters", count_text(summary.get("parameters"))),
        ("devices", text("devices") + kind),
        ("seed", text("seed")),
    ]


@contextmanager
def progress_bar(console: Console, what: str, total: int) -> Iterator[Callable[[str], None]]:
    """Shows a progress bar in a terminal, and a line for each part elsewhere.

    Yields a function to call with the name of each part that is done.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task, done = progress.add_task(what, total=total), 0

        def advance(name: str) -> None:
            nonlocal done
            done += 1
            progress.update(task, advance=1, description=name)
            if not console.is_terminal:
                console.print(f"{what} {done}/{total}: {name}", markup=False, highlight=False)

        yield advance
