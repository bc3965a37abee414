"""Training over real processes on the loopback device gives what one process would."""

import json
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from processes import Process, Run, Start, finish, wait_until
from runs import ROOT, SPIED, TINY
from shared import made_once

from bnnjax.runs.distributed import SENTENCE
from bnnjax.runtime.exit_codes import LOST, STOPPED_BY_DATA

BATCH, STEPS = 16, 4  # of an epoch
SHORT = ("--train-examples", BATCH * STEPS, "--batch-size", BATCH, "--epochs", 2, "--noise", "none")
IMAGENET = ROOT / "experiments" / "imagenet.py"
TINY_IMAGENET = ("--model", "resnet_tiny", "--image-size", 16, "--data-workers", 1, "--train-examples", 64)
ENDLESS = ("--train-examples", BATCH * 40, "--batch-size", BATCH, "--epochs", 1000)

# All of these processes compile much: each number of them another program, each spy its own.
QUICKLY = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}

Processes = list[Process]
Launch = Callable[..., Any]


class Ended(NamedTuple):
    code: int
    output: str
    errors: str


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def launch(start: Start, environment: dict[str, str]) -> Launch:
    """launch(count, script, workdir, *arguments): so many processes of one run, killed at the block's end.

    The last has more arguments, `of_last`.
    """

    @contextmanager
    def launched(
        count: int,
        script: Path,
        workdir: Path,
        *arguments: object,
        of_last: tuple[object, ...] = (),
        **variables: str,
    ) -> Iterator[Processes]:
        flags = ("--coordinator", f"127.0.0.1:{free_port()}", "--num-processes", count)
        # Through a proxy they would not find each other.
        direct = dict.fromkeys(name for name in environment if name.lower().endswith("_proxy"))
        processes: Processes = []
        try:
            for process in range(count):
                own = (*arguments, "--workdir", workdir, *flags, "--process-id", process)
                own += of_last if process == count - 1 else ()
                processes.append(start(script, *own, **QUICKLY, **direct, **variables))
            yield processes
        finally:
            for one in processes:
                one.kill()

    return launched


def ends(process: Process) -> Ended:
    done = finish(process)
    return Ended(done.returncode, done.stdout, done.stderr)


def train(launch: Launch, count: int, workdir: Path, seen: Path) -> list[Ended]:
    """Runs the short experiment to its end on so many processes; one is started as anybody would."""
    seen.mkdir(exist_ok=True)
    with launch(count, SPIED, workdir, *SHORT, SEEN=str(seen)) as processes:
        return [ends(process) for process in processes]


def arrays(workdir: Path, step: int) -> dict[str, np.ndarray]:
    place = workdir / "checkpoints" / str(step) / "state"
    reader = ocp.PyTreeCheckpointer()
    saved = reader.metadata(place).item_metadata.tree
    on_host = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), saved)
    tree = reader.restore(place, restore_args=on_host)
    leaves: dict[str, np.ndarray] = {}

    def visit(name: str, node: Any) -> None:
        children = node.items() if isinstance(node, dict) else enumerate(node)
        for key, child in children:
            if isinstance(child, dict | list | tuple):
                visit(f"{name}/{key}", child)
            elif child is not None:
                leaves[f"{name}/{key}"] = np.asarray(child)

    visit("", tree)
    return leaves


def assert_close(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    """Up to the order of float32 sums."""
    assert left.keys() == right.keys()
    for name in left:
        scale = float(np.abs(left[name]).max())
        np.testing.assert_allclose(left[name], right[name], rtol=1e-5, atol=1e-5 * scale + 3e-7, err_msg=name)


def images_seen(seen: Path) -> list[str]:
    return sorted(line for file in seen.iterdir() for line in file.read_text().splitlines())


class Finished(NamedTuple):
    workdir: Path
    seen: Path
    ended: list[Ended]


def finished(place: Path) -> Finished:
    ended = json.loads((place / "ended.json").read_text())
    return Finished(place / "run", place / "seen", [Ended(*each) for each in ended])


@pytest.fixture(scope="session")
def one(run: Run, shared_folder: Path) -> Finished:
    """The run of one process that knows nothing of others."""

    def make(place: Path) -> None:
        (place / "seen").mkdir()
        done = run(SPIED, *SHORT, "--workdir", place / "run", **QUICKLY, SEEN=str(place / "seen"))
        (place / "ended.json").write_text(json.dumps([[done.returncode, done.stdout, done.stderr]]))

    return finished(made_once(shared_folder, "one", make))


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.slow)])
def many(request: pytest.FixtureRequest, launch: Launch, shared_folder: Path) -> Finished:
    """The same run on several processes."""

    def make(place: Path) -> None:
        ended = train(launch, request.param, place / "run", place / "seen")
        (place / "ended.json").write_text(json.dumps(ended))

    return finished(made_once(shared_folder, f"many{request.param}", make))


def test_process_0_alone_speaks_and_writes(many: Finished) -> None:
    first, *others = many.ended
    assert (first.code, first.errors) == (0, "")
    assert f"report: {many.workdir / 'report.html'}" in first.output
    assert others == [(0, "", "")] * len(others) != []
    assert len(list(many.workdir.glob("events.out.*"))) == 1
    metrics = [json.loads(line) for line in (many.workdir / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in metrics] == [1, 2]


def test_many_processes_train_what_one_trains(one: Finished, many: Finished) -> None:
    assert one.ended[0].code == 0
    count = len(many.ended)
    assert_close(arrays(one.workdir, STEPS), arrays(many.workdir, STEPS))  # after an epoch
    ours, theirs = (json.loads((run.workdir / "summary.json").read_text()) for run in (many, one))
    assert (ours["processes"], ours["devices"], ours["batch_size"]) == (count, count, BATCH)
    assert (theirs["processes"], theirs["devices"], theirs["batch_size"]) == (1, 1, BATCH)
    assert ours["test_accuracy"] == theirs["test_accuracy"]
    assert ours["log_lipschitz_bound"] == pytest.approx(theirs["log_lipschitz_bound"], rel=1e-4)
    assert ours["parameters"] == theirs["parameters"]


def test_many_processes_see_exactly_the_images_that_one_sees(one: Finished, many: Finished) -> None:
    count, seen = len(many.ended), images_seen(one.seen)
    assert len(seen) == 2 * STEPS * BATCH
    assert images_seen(many.seen) == seen
    each = [len((many.seen / f"{process}.txt").read_text().splitlines()) for process in range(count)]
    assert each == [2 * STEPS * BATCH // count] * count


@pytest.mark.slow
@pytest.mark.timeout(400)  # five processes, each with workers
def test_two_processes_stream_in_parts_what_one_streams(
    run: Run, launch: Launch, imagenet_dir: Path, tmp_path: Path
) -> None:
    """Damaged images are among them, in training and in the test; all processes count them once."""
    data, alone, together = (tmp_path / name for name in ("data", "alone", "together"))
    shutil.copytree(imagenet_dir, data)
    for split, damages in (("train", 7), ("validation", 1)):
        (path,) = data.rglob(f"*-{split}.*")
        content = bytearray(path.read_bytes())
        for n in range(1, damages + 1):
            content[n * len(content) // (damages + 1)] ^= 1
        path.write_bytes(content)
    flags = ("--data-dir", data, "--skip-corrupt", "--accumulate", 2, *SHORT, *TINY_IMAGENET)
    done = run(IMAGENET, *flags, "--workdir", alone, **QUICKLY)
    assert (done.returncode, done.stderr) == (0, "")
    with launch(2, IMAGENET, together, *flags) as processes:
        first, second = (ends(process) for process in processes)
    assert (first.code, first.errors, second) == (0, "", (0, "", ""))
    assert_close(arrays(alone, 2 * STEPS), arrays(together, 2 * STEPS))
    theirs, ours = (json.loads((place / "summary.json").read_text()) for place in (alone, together))
    assert theirs["skipped_images"] >= 1
    assert theirs["grey_images"] >= 1
    for name in ("skipped_images", "grey_images", "test_accuracy"):
        assert ours[name] == theirs[name]
    # One that is not skipped ends all: of the training images, as those of the test are looked at first.
    shutil.copytree(
        imagenet_dir, data, dirs_exist_ok=True, ignore=lambda _, names: {n for n in names if "-train." in n}
    )
    flags = tuple(flag for flag in flags if flag != "--skip-corrupt")
    with launch(2, IMAGENET, tmp_path / "stopped", *flags) as processes:
        codes = {ends(process).code for process in processes}
    assert codes == {STOPPED_BY_DATA, LOST}


def goes_on(launch: Launch, original: Path, after: int, place: Path) -> None:
    """Repeats the second epoch of a run on another number of processes; its last checkpoint is damaged."""
    workdir = place / "run"
    shutil.copytree(original, workdir)
    (workdir / "summary.json").unlink()
    # Process 0 finds the damage out for all.
    damaged = workdir / "checkpoints" / str(2 * STEPS)
    largest = max(
        (path for path in damaged.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )
    largest.write_bytes(largest.read_bytes()[:-20])
    ended = train(launch, after, workdir, place / "seen")
    assert [(one.code, one.errors) for one in ended] == [(0, "")] * after
    assert ended[0].output.startswith(f"checkpoint {2 * STEPS} is damaged (")
    assert f"resuming from step {STEPS}\n" in ended[0].output
    assert len(list((workdir / "damaged").iterdir())) == 1
    assert len(images_seen(place / "seen")) == STEPS * BATCH
    assert_close(arrays(workdir, 2 * STEPS), arrays(original, 2 * STEPS))


@pytest.mark.slow
@pytest.mark.timeout(200)  # seven processes
@pytest.mark.parametrize(("many", "after"), [(4, 1), (4, 2)], indirect=["many"])
def test_checkpoints_go_on_on_fewer_processes(
    launch: Launch, tmp_path: Path, many: Finished, after: int
) -> None:
    goes_on(launch, many.workdir, after, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(200)  # five processes
def test_checkpoints_go_on_on_more_processes(launch: Launch, tmp_path: Path, one: Finished) -> None:
    goes_on(launch, one.workdir, 4, tmp_path)


def checkpoints(workdir: Path) -> set[int]:
    return {int(path.name) for path in (workdir / "checkpoints").glob("[0-9]*") if path.name.isdecimal()}


@pytest.mark.timeout(300)  # a process that hangs is noticed by a heartbeat of 30 s
@pytest.mark.parametrize(
    ("lost", "number"),
    [
        (1, signal.SIGKILL),
        pytest.param(0, signal.SIGKILL, marks=pytest.mark.slow),
        pytest.param(1, signal.SIGSTOP, marks=pytest.mark.slow),
    ],
)
def test_a_lost_process_ends_the_others(
    launch: Launch, tmp_path: Path, lost: int, number: signal.Signals
) -> None:
    workdir = tmp_path / "run"
    with launch(2, TINY, workdir, *ENDLESS) as processes:
        wait_until(lambda: bool(checkpoints(workdir)), *processes)
        time.sleep(0.3)  # into the next epoch
        processes[lost].send_signal(number)
        survivor = ends(processes[1 - lost])
    assert survivor.code == LOST
    assert survivor.errors.splitlines()[-1] == SENTENCE.strip()
    assert "Traceback" not in survivor.errors


@pytest.mark.slow
@pytest.mark.timeout(300)  # four processes
def test_a_restart_after_a_loss_goes_on_and_a_signal_to_one_stops_all(launch: Launch, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    with launch(2, TINY, workdir, *ENDLESS) as processes:
        wait_until(lambda: bool(checkpoints(workdir)), *processes)
        processes[1].kill()
        assert ends(processes[0]).code == LOST
    # At the same step, with everything saved.
    latest = max(checkpoints(workdir))
    with launch(2, TINY, workdir, *ENDLESS) as processes:
        wait_until(lambda: max(checkpoints(workdir)) > latest, *processes)
        processes[1].send_signal(signal.SIGTERM)
        first, second = (ends(process) for process in processes)
    assert (first.code, first.errors, second) == (0, "", (0, "", ""))
    assert f"resuming from step {latest}\n" in first.output
    last = first.output.splitlines()[-1]
    assert last.startswith("stopped by SIGTERM at step ")
    assert int(last.split()[5]) in checkpoints(workdir)


def test_wrong_input_is_told_once_and_ends_all(launch: Launch, tmp_path: Path) -> None:
    with launch(2, TINY, tmp_path / "run", "--batch-size", 7) as processes:
        first, second = (ends(process) for process in processes)
    assert first.code == second.code == 2
    (line,) = first.errors.splitlines()
    assert "batch size 7 on 2 devices" in line
    assert second.errors == ""


@pytest.mark.parametrize(
    ("of_last", "sentence"),
    [
        (("--epochs", 3), "process 1: the flags differ from those of process 0"),
        pytest.param(
            ("--workdir", "elsewhere"),
            "process 1: work directory elsewhere is not shared",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_is_wrong_in_another_process_is_told_by_process_0(
    launch: Launch, tmp_path: Path, of_last: tuple[object, ...], sentence: str
) -> None:
    with launch(2, TINY, tmp_path / "run", "--epochs", 2, of_last=of_last) as processes:
        first, second = (ends(process) for process in processes)
    assert first.code == second.code == 2
    (line,) = first.errors.splitlines()
    assert line.startswith(f"tiny_experiment.py: {sentence}")
    assert (second.output, second.errors) == ("", "")
