"""A run on many processes, by JAX's multi-controller runtime: how they find each other, and how they end."""

import atexit
import contextlib
import ctypes
import importlib.util
import json
import os
import re
import signal
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NoReturn

import jax
from rich.console import Console

from bnnjax.config.json import to_json
from bnnjax.config.training import Config
from bnnjax.runs.plan import prepare
from bnnjax.runs.train import execute
from bnnjax.runtime.determinism import require_determinism
from bnnjax.runtime.exit_codes import FAILED, LOST, NOT_WRITTEN, STOPPED_BY_DATA, WRONG_INPUT
from bnnjax.runtime.processes import as_first, gather, in_turn, is_first, together

# A process that is silent for so long is taken for dead by JAX's coordination service, which ends the others.
# Where connections break, as those of gloo do, they notice at once.
HEARTBEAT_SECONDS = 30
OPEN_MPI_4, OPEN_MPI, KUBERNETES = "OMPI_MCA_orte_hnp_uri", "OMPI_COMM_WORLD_RANK", "KUBERNETES_SERVICE_HOST"
LOOKED_FOR = (
    "Slurm's srun (SLURM_JOB_ID, SLURM_STEP_NODELIST, SLURM_NTASKS, SLURM_PROCID, SLURM_LOCALID), "
    f"Open MPI ({OPEN_MPI_4}, or {OPEN_MPI} and the package mpi4py), "
    f"Kubernetes and GKE ({KUBERNETES} and the package kubernetes), "
    "and Cloud TPU (libtpu, with TPU_WORKER_HOSTNAMES or the metadata server)"
)
SENTENCE = "stopped: another process was lost; rerun all of them to resume from the last checkpoint\n"
# Flags in which processes may differ.
OWN_FLAGS = frozenset({"coordinator", "process_id", "workdir", "data_dir", "archive"})
# What collectives and barriers say when the other side is gone.
BROKEN = re.compile(r"gloo|nccl|coordination service|UNAVAILABLE|DEADLINE_EXCEEDED", re.IGNORECASE)


def arguments_of(config: Config) -> dict[str, Any]:
    """Returns what `jax.distributed.initialize` is given.

    Raises:
      ValueError: if the environment is one that JAX needs another package for.
    """
    given = {
        "heartbeat_timeout_seconds": HEARTBEAT_SECONDS,
        "coordinator_address": config.coordinator,
        "process_id": config.process_id,
        "num_processes": config.num_processes,
    }
    if config.distributed == "none":
        return {**given, "cluster_detection_method": "deactivate"}

    def needs(package: str, where: str) -> None:
        if importlib.util.find_spec(package) is None:
            raise ValueError(f"--distributed auto needs the package {package} on {where}; install it there")

    if OPEN_MPI in os.environ and OPEN_MPI_4 not in os.environ:
        needs("mpi4py", "Open MPI 5 or later")
        return {**given, "cluster_detection_method": "mpi4py"}
    if KUBERNETES in os.environ and "TPU_WORKER_HOSTNAMES" not in os.environ:
        needs("kubernetes", "Kubernetes")
    return given


def initialize(config: Config) -> None:
    """Joins this process with the others; no array may have been made before.

    Raises:
      ValueError: if `auto` finds nothing that has started several processes, or if they cannot be reached.
    """
    arguments = arguments_of(config)
    # JAX's own answer to SIGTERM would swallow it; the loop has one (`train.loop.stop_on_signals`).
    jax.config.update("jax_enable_preemption_service", False)
    ctypes.CDLL(None).signal(signal.SIGABRT, _on_abort)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            jax.distributed.initialize(**arguments)
    except (ValueError, RuntimeError, OSError) as error:
        if "should be defined" in str(error):
            raise ValueError(
                f"--distributed auto found no other processes; it looked for {LOOKED_FOR}"
            ) from error
        raise ValueError(f"the processes could not be joined: {error}") from error
    if config.deterministic:
        require_determinism()  # before anything is computed
    with _silent_stdout():  # gloo greets
        gather([0])


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _on_abort(_: int) -> None:
    """Answers the abort with which JAX's runtime ends a process that has lost another.

    A handler of Python's would wait for the main thread, which is in a collective that never ends.
    """
    _leave_as_lost()


def _leave_as_lost() -> NoReturn:
    """Ends this process with the sentence, after which threads of JAX's runtime say no more."""
    stderr = os.dup(2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    os.write(stderr, SENTENCE.encode())
    os._exit(LOST)


@contextlib.contextmanager
def _silent_stdout() -> Iterator[None]:
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nothing)


def _leave(code: int) -> NoReturn:
    """Ends this process without waiting for the others, who notice that it is gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextlib.contextmanager
def exit_on_failure() -> Iterator[None]:
    """Ends this process at once where the block fails, since the others may be waiting for it."""
    try:
        yield
    except Exception as error:
        of_files = isinstance(error, OSError)
        if not of_files and BROKEN.search(str(error)):
            sys.stdout.flush()
            sys.stderr.flush()
            _leave_as_lost()
        # When it is told, before JAX says goodbye to the others.
        atexit.register(_leave, NOT_WRITTEN if of_files else FAILED)
        raise


def check_same(what: str, content: str) -> None:
    """Checks that all processes have what process 0 has.

    Raises:
      ValueError: if one has something else.
    """
    own = zlib.crc32(content.encode()) // 2  # 31 bits
    first = as_first(own)
    with together():
        if own != first:
            raise ValueError(f"{what} differ from those of process 0")


def prepare_together(config: Config) -> Callable[[Console], int]:
    """Returns a run on many processes, ready to be executed in each.

    Raises:
      ValueError: with what is wrong in any process; in process 0 alone, the others exit.
    """
    initialize(config)
    wrong: Exception | None = None
    with exit_on_failure():
        try:
            plan = in_turn(partial(prepare, config))
            asked = to_json(plan.run.config)
            flags = {name: value for name, value in asked.items() if name not in OWN_FLAGS}
            check_same("the flags", json.dumps(flags))
            check_same("the images", plan.run.dataset.digest)
        except (ValueError, OSError) as error:
            if BROKEN.search(str(error)):
                raise
            wrong = error
    if wrong is not None:
        if is_first():
            raise wrong
        sys.exit(WRONG_INPUT)

    def work(console: Console) -> int:
        with exit_on_failure():
            code = execute(plan, console if is_first() else Console(quiet=True))
            if code == STOPPED_BY_DATA:  # which the others may know nothing of
                _leave(code)
            return as_first(code)  # process 0 has the results to write

    return work
