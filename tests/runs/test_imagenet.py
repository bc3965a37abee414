"""ImageNet's real path from tar files to a report, on a tiny set: as processes, stopped and damaged."""

import contextlib
import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
import pytest
from processes import Process, Run, Start, finish, is_there, wait_until
from runs import ROOT, checkpoint_is_there
from shared import made_once

SCRIPT = ROOT / "experiments" / "imagenet.py"
# Of 120 training images 12 are held out.
STEPS, EPOCHS = 27, 3
TINY = (
    "--model",
    "resnet_tiny",
    "--image-size",
    16,
    "--batch-size",
    4,
    "--epochs",
    EPOCHS,
    "--data-workers",
    1,
)


def arguments(data_dir: Path, workdir: Path, *more: object) -> tuple[object, ...]:
    return (*TINY, "--constraint", "l1inf", "--data-dir", data_dir, "--workdir", workdir, *more)


def records(workdir: Path) -> list[dict[str, Any]]:
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    times = ("seconds", "images_per_second")
    return [{k: v for k, v in json.loads(line).items() if k not in times} for line in lines]


def summary(workdir: Path) -> dict[str, Any]:
    return json.loads((workdir / "summary.json").read_text())


def last_arrays(workdir: Path) -> list[bytes]:
    """The bytes of every array of the last checkpoint, read without the code under test."""
    place = workdir / "checkpoints" / str(STEPS * EPOCHS) / "state"
    tree = ocp.StandardCheckpointer().restore(place)
    found: list[bytes] = []

    def visit(node: Any) -> None:
        children = [node[key] for key in sorted(node)] if isinstance(node, dict) else node
        if isinstance(children, list | tuple):
            for child in children:
                visit(child)
        elif node is not None:
            found.append(np.asarray(node).tobytes())

    visit(tree)
    return found


def children(process: Process) -> list[int]:
    """The processes that this one has started; threads may come and go meanwhile."""
    found = []
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += [int(pid) for pid in (task / "children").read_text().split()]
    return found


@pytest.fixture(scope="module")
def reference(run: Run, imagenet_dir: Path, shared_folder: Path) -> Path:
    """The undisturbed run; any warning would have ended it."""

    def make(workdir: Path) -> None:
        done = run(SCRIPT, *arguments(imagenet_dir, workdir), PYTHONWARNINGS="error")
        assert (done.returncode, done.stderr) == (0, "")
        assert (workdir / "report.html").exists()

    return made_once(shared_folder, "imagenet_run", make)


@pytest.mark.slow
@pytest.mark.timeout(300)  # noise is compiled
def test_a_run_goes_from_tar_files_to_a_report(reference: Path) -> None:
    found = summary(reference)
    assert found["dataset"] == "imagenet2012"
    assert found["train_examples"] == 108
    assert (found["skipped_images"], found["grey_images"]) == (0, 0)
    assert 0 <= found["test_accuracy"] <= found["test_top5_accuracy"] == 100  # there are five classes
    assert [(record["epoch"], record["step"]) for record in records(reference)] == [
        (epoch, STEPS * epoch) for epoch in range(1, EPOCHS + 1)
    ]
    assert all(record["skipped_images"] == 0 for record in records(reference))


@pytest.mark.slow
@pytest.mark.timeout(300)  # runs with workers
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_or_killed_ends_with_the_same_bits(
    start: Start, run: Run, reference: Path, imagenet_dir: Path, tmp_path: Path, number: signal.Signals
) -> None:
    workdir = tmp_path / "run"
    process = start(SCRIPT, *arguments(imagenet_dir, workdir))
    wait_until(checkpoint_is_there(workdir, STEPS), process)
    time.sleep(0.1)
    started = children(process)
    assert started
    process.send_signal(number)
    stopped = finish(process)
    wait_until(lambda: not any(map(is_there, started)))  # no worker stays behind
    assert stopped.returncode == (0 if number == signal.SIGTERM else -number)
    # Other workers: the stream does not depend on them.
    done = run(SCRIPT, *arguments(imagenet_dir, workdir, "--data-workers", 2))
    assert (done.returncode, done.stderr) == (0, "")
    assert "resuming from step " in done.stdout
    assert records(workdir) == records(reference)
    assert last_arrays(workdir) == last_arrays(reference)


@pytest.mark.slow
@pytest.mark.timeout(300)  # runs with workers
def test_a_damaged_image_ends_a_run_with_everything_saved_or_is_counted(
    run: Run, imagenet_dir: Path, tmp_path: Path
) -> None:
    root, workdir = tmp_path / "data", tmp_path / "run"
    shutil.copytree(imagenet_dir, root)
    (path,) = root.rglob("*-train.*")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    done = run(SCRIPT, *arguments(root, workdir))
    assert done.returncode == 7
    assert done.stderr.startswith("stopped: record ")
    assert f" of {path} is damaged: " in done.stderr
    assert f"; what is saved in {workdir} is intact; rerun the command to resume" in done.stderr
    assert done.stderr.count("\n") == 1
    saved = [path.name for path in (workdir / "checkpoints").iterdir()]
    done = run(SCRIPT, *arguments(root, workdir, "--skip-corrupt"))
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"resuming from step {step}" in done.stdout for step in saved)
    found = summary(workdir)
    assert found["skipped_images"] == sum(record["skipped_images"] for record in records(workdir))
    assert found["skipped_images"] + found["grey_images"] >= 1


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--data-dir", "."), f"there is no imagenet2012 in {Path.cwd()}: prepare it from its official "),
        (("--train-examples", 109), "cannot train on 109 images: allowed is 1 to 108."),
        (("--color-jitter", 2, 0, 0), "jitter is (2.0, 0.0, 0.0): allowed are three numbers in [0, 1]"),
        (("--data-workers", -1), "data_workers must be 0 or positive, and finite; got -1"),
    ],
)
def test_wrong_input_is_one_sentence(
    run: Run, imagenet_dir: Path, tmp_path: Path, more: tuple[object, ...], sentence: str
) -> None:
    done = run(SCRIPT, *arguments(imagenet_dir, tmp_path / "run", *more))
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
