"""Runs of the tiny experiment as processes: how to wait for them, stop them and compare their files."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
from processes import Process, finish

ROOT = Path(__file__).parents[2]
TINY, SPIED = (Path(__file__).with_name(f"{name}_experiment.py") for name in ("tiny", "spied"))
STEPS, EPOCHS = 300, 4  # of the tiny experiment; an epoch takes a good part of a second


def records(workdir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def without_times(workdir: Path) -> list[dict[str, Any]]:
    times = ("seconds", "images_per_second")
    return [{key: value for key, value in record.items() if key not in times} for record in records(workdir)]


def results(workdir: Path) -> dict[str, Any]:
    summary = json.loads((workdir / "summary.json").read_text())
    keys = ("test_accuracy", "test_loss", "validation_accuracy", "best_epoch", "log_lipschitz_bound")
    return {key: summary[key] for key in keys}


def last_step(workdir: Path) -> int:
    """The step of the last checkpoint; 0 if there is none."""
    return max((int(path.name) for path in workdir.glob("checkpoints/*") if path.name.isdecimal()), default=0)


def last_arrays(workdir: Path) -> dict[str, bytes]:
    """The bytes of every array of the last checkpoint, read without the code under test."""
    step = str(last_step(workdir))
    tree = ocp.StandardCheckpointer().restore(workdir / "checkpoints" / step / "state")
    arrays: dict[str, bytes] = {"last step": step.encode()}

    def visit(name: str, node: Any) -> None:
        if isinstance(node, dict):
            for key, child in node.items():
                visit(f"{name}/{key}", child)
        elif isinstance(node, list | tuple):
            for place, child in enumerate(node):
                visit(f"{name}/{place}", child)
        elif node is not None:
            arrays[name] = np.asarray(node).tobytes()

    visit("", tree)
    return arrays


def assert_same_run(workdir: Path, reference: Path) -> None:
    ours, theirs = last_arrays(workdir), last_arrays(reference)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert without_times(workdir) == without_times(reference)
    assert [record["epoch"] for record in records(workdir)] == list(range(1, EPOCHS + 1))
    assert results(workdir) == results(reference)


def contents(folder: Path) -> dict[Path, bytes]:
    """The contents of each file; folders have none."""
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")
    }


def checkpoint_is_there(workdir: Path, step: int) -> Callable[[], bool]:
    return (workdir / "checkpoints" / str(step)).exists


def lock_is_held(workdir: Path) -> Callable[[], bool]:
    """Whether the lock file names its holder; before that a run that cannot write is rejected."""

    def holds() -> bool:
        lock = workdir / ".lock"
        return lock.exists() and lock.stat().st_size > 0

    return holds


def unfinished_saves(workdir: Path) -> list[Path]:
    return list((workdir / "checkpoints").glob("*tmp*"))


def kill(process: Process) -> None:
    process.send_signal(signal.SIGKILL)
    assert finish(process).returncode == -signal.SIGKILL
