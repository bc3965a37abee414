"""TensorBoard event files of a run."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bnnjax.report.formatting import as_float


@contextmanager
def event_writer(
    workdir: Path | str, resumed_step: int | None = None
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Opens the event file of one run, or of one part of a resumed run.

    Args:
      workdir: the run directory; its name is the name of the run in TensorBoard.
      resumed_step: the step of the checkpoint a run resumes from; TensorBoard then hides what an earlier
        process wrote for later steps. None for a new run.

    Yields:
      A function that writes every number of one metrics record at the record's `step`.
    """
    from tensorboardX import SummaryWriter  # type: ignore[import-untyped, unused-ignore]

    # tensorboardX names files by the second and opens them for writing: a run that dies and resumes within
    # one second would overwrite its own events. The nanoseconds keep the names apart and in order.
    writer = SummaryWriter(
        logdir=str(workdir),
        purge_step=None if resumed_step is None else resumed_step + 1,
        flush_secs=10,  # what a killed run loses at most
        filename_suffix=f".{time.time_ns()}",
    )

    def write(record: Mapping[str, Any]) -> None:
        step = int(record["step"])
        for name, value in scalars(record).items():
            writer.add_scalar(name, value, global_step=step)

    try:
        yield write
    finally:
        writer.close()


def scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """Gives what of a metrics record is a number, under TensorBoard's names.

    Args:
      record: one epoch's metrics.

    Returns:
      Name to number, without `step`, which is the axis. `train_x` and `validation_x` become `x/train` and
      `x/validation`, so that TensorBoard puts the two side by side.
    """
    named: dict[str, float] = {}
    for key, value in record.items():
        number = as_float(value)
        if key == "step" or number is None:
            continue
        split, _, rest = key.partition("_")
        named[f"{rest}/{split}" if rest and split in ("train", "validation", "test") else key] = number
    return named
