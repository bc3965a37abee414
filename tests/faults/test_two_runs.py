"""Two processes and one run directory."""

import signal
from pathlib import Path

import pytest
import tiny_experiment
from processes import Run, Start, finish, wait_until
from runs import STEPS, TINY, assert_same_run, checkpoint_is_there

from bnnjax.runs.saved import read_trained

pytestmark = pytest.mark.faults


@pytest.mark.slow
def test_the_second_process_refuses_and_the_first_is_not_disturbed(
    start: Start, run: Run, reference: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    first = start(TINY, "--workdir", workdir)
    wait_until(checkpoint_is_there(workdir, STEPS), first)
    first.send_signal(signal.SIGSTOP)  # so that it does not end before the second has begun
    second = run(TINY, "--workdir", workdir)
    assert (second.returncode, second.stdout) == (2, "")
    (line,) = second.stderr.splitlines()
    start_of_line = f"tiny_experiment.py: work directory {workdir} is in use by process {first.pid} on "
    assert line.startswith(start_of_line)
    # To look at its network so far is no second run.
    assert read_trained(workdir, tiny_experiment.load(tiny_experiment.DEFAULTS)).params
    first.send_signal(signal.SIGCONT)
    done = finish(first)
    assert (done.returncode, done.stderr) == (0, "")
    assert_same_run(workdir, reference)
