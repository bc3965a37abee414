"""TensorBoard event files of a run."""

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bnnjax.report.style.formatting import as_float
from bnnjax.runtime.files import naming


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
    from tensorboardX.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped, unused-ignore]
    from tensorboardX.record_writer import RecordWriter  # type: ignore[import-untyped, unused-ignore]
    from tensorboardX.summary import scalar  # type: ignore[import-untyped, unused-ignore]

    # Not tensorboardX's SummaryWriter: it writes from a thread that dies on a full disk, and then the run
    # waits for it forever.
    folder = Path(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _next_name(folder)
    file = RecordWriter(str(path))

    def write_events(*events: dict[str, Any]) -> None:
        with naming(path):
            for event in events:
                file.write(Event(wall_time=time.time(), **event).SerializeToString())
            file.flush()

    def write(record: Mapping[str, Any]) -> None:
        step, named = int(record["step"]), scalars(record)
        write_events(*({"step": step, "summary": scalar(name, named[name])} for name in named))

    try:
        write_events({"file_version": "brain.Event:2"})
        if resumed_step is not None:
            start = SessionLog(status=SessionLog.SessionStatus.Value("START"))
            write_events({"step": resumed_step + 1, "session_log": start})
        yield write
    finally:
        with naming(path):
            file.close()


def _next_name(folder: Path) -> str:
    """Returns a name that sorts after the folder's other event files, even if the clock has been set back."""
    numbers = [path.name.split(".")[3] for path in folder.glob("events.out.tfevents.*")]
    last = max((int(number) for number in numbers if number.isdecimal()), default=0)
    return f"events.out.tfevents.{max(int(time.time()), last + 1)}.{socket.gethostname()}"


def scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """Returns the numbers of a metrics record under TensorBoard's names.

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
