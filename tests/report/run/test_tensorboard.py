"""Event files are read back record by record."""

import math
import struct
from pathlib import Path

import pytest
from tensorboardX.proto import event_pb2
from tensorboardX.record_writer import masked_crc32c

from bnnjax.report.run.tensorboard import event_writer, scalars


def _events(folder: Path) -> list[event_pb2.Event]:
    """Reads the event files of a folder in TensorBoard's order, checking their sums."""
    events = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data, start = path.read_bytes(), 0
        while start < len(data):
            (length,) = struct.unpack_from("<Q", data, start)
            header, payload = data[start : start + 8], data[start + 12 : start + 12 + length]
            assert struct.unpack_from("<I", data, start + 8)[0] == masked_crc32c(header)
            assert struct.unpack_from("<I", data, start + 12 + length)[0] == masked_crc32c(payload)
            events.append(event_pb2.Event.FromString(payload))
            start += 16 + length
    return events


def _points(folder: Path) -> list[tuple[int, str, float]]:
    return [
        (event.step, value.tag, value.simple_value)
        for event in _events(folder)
        for value in event.summary.value
    ]


def test_records_are_read_back(tmp_path: Path) -> None:
    with event_writer(tmp_path / "run") as write:
        write(
            {"epoch": 1, "step": 351, "loss": 1.5, "train_accuracy": 31.25, "note": "text", "penalty": None}
        )
        write({"epoch": 2, "step": 702, "loss": 1.25, "train_accuracy": 35.0})
    assert _points(tmp_path / "run") == [
        (351, "epoch", 1.0), (351, "loss", 1.5), (351, "accuracy/train", 31.25),
        (702, "epoch", 2.0), (702, "loss", 1.25), (702, "accuracy/train", 35.0),
    ]  # fmt: skip


def test_a_resumed_run_purges_what_came_after_and_keeps_the_first_file(tmp_path: Path) -> None:
    """Both parts within one second: tensorboardX alone would overwrite the first file."""
    with event_writer(tmp_path) as write:
        write({"step": 10, "loss": 2.0})
        write({"step": 20, "loss": 3.0})
    with event_writer(tmp_path, resumed_step=10) as write:
        write({"step": 20, "loss": 1.0})
    starts = [
        event.step
        for event in _events(tmp_path)
        if event.session_log.status == event_pb2.SessionLog.SessionStatus.START
    ]
    assert starts == [11]  # TensorBoard hides earlier events from step 11 on: step 10 stays, the old 20 goes
    assert _points(tmp_path) == [(10, "loss", 2.0), (20, "loss", 3.0), (20, "loss", 1.0)]


def test_events_are_on_disk_when_the_run_fails(tmp_path: Path) -> None:
    def train() -> None:
        with event_writer(tmp_path) as write:
            write({"step": 1, "loss": 2.0})
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        train()
    assert _points(tmp_path) == [(1, "loss", 2.0)]


def test_names_of_scalars() -> None:
    named = scalars(
        {"step": 1, "validation_loss": 2, "train_accuracy": 3.0, "task_loss": 4, "off": True, "x": None}
    )
    assert named == {"loss/validation": 2.0, "accuracy/train": 3.0, "task_loss": 4.0}
    assert math.isnan(scalars({"loss": math.nan})["loss"])
