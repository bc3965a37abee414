"""What tests that start processes share: their environment, the digits, a tiny experiment."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import matplotlib
import pytest
from imagenet_set import prepare, write_tars
from jax.experimental.compilation_cache.compilation_cache import reset_cache

# Most of the time goes into compiling, which each of these halves; runs that tests start are not affected.
jax.config.update("jax_disable_most_optimizations", True)
if jax.__version_info__ < (0, 11):  # later versions have no other emitters
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false".strip()

ROOT = Path(__file__).parents[1]
TINY = ROOT / "tests" / "tiny_experiment.py"

Finished = subprocess.CompletedProcess[str]
Start = Callable[..., "subprocess.Popen[str]"]
Run = Callable[..., Finished]


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of this run of pytest, the same for all of its processes."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session", autouse=True)
def _compiled(shared_folder: Path) -> None:
    """A compilation cache of this run of pytest, unless JAX has one: tests compile many programs alike."""
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(shared_folder / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        reset_cache()  # JAX has decided already if a module made an array


@pytest.fixture(scope="session")
def environment(shared_folder: Path) -> dict[str, str]:
    """For processes: bnnjax's caches, one for all, no network, messages as in a log file."""
    without = ("COLUMNS", "XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")
    keep = {name: value for name, value in os.environ.items() if name not in without}
    return keep | {
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",  # XLA calls a compilation slow when the machine is busy
        "PYTHONUNBUFFERED": "1",  # what a process has printed is not lost when it is killed
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "XDG_CACHE_HOME": str(shared_folder / "cache"),
        "MPLCONFIGDIR": matplotlib.get_configdir(),  # else each first process lists the fonts anew
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
    }


@pytest.fixture(scope="session")
def start(environment: dict[str, str]) -> Start:
    """Starts an experiment: start(script, *arguments, NAME=value of an environment variable)."""

    def started(script: Path, *arguments: object, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            env=environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return started


@pytest.fixture(scope="session")
def run(start: Start) -> Run:
    """Runs an experiment to its end; arguments as for `start`."""

    def finished(script: Path, *arguments: object, **variables: str) -> Finished:
        with start(script, *arguments, **variables) as process:
            output, errors = process.communicate(timeout=1000)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    return finished


@pytest.fixture(scope="session")
def digits_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory in which the digits are prepared."""
    from bnnjax.data import load_digits

    root = tmp_path_factory.mktemp("data")
    load_digits(root)
    return root


@pytest.fixture(scope="session")
def imagenet_tars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with tiny official tar files."""
    return write_tars(tmp_path_factory.mktemp("tars"))


@pytest.fixture(scope="session")
def imagenet_dir(
    imagenet_tars: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A data directory in which they are prepared, by the command and with two processes."""
    root = tmp_path_factory.mktemp("data")
    synsets = imagenet_tars / "synsets.txt"
    done = prepare(imagenet_tars, root, "--synsets", synsets, "--jobs", 2, environment=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "120 train images and 20 validation images of 5 synsets, not counted against any" in done.stdout
    return root


@pytest.fixture(scope="session")
def reference(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run of the tiny experiment that nobody disturbed."""
    workdir = tmp_path_factory.mktemp("reference") / "run"
    done = run(TINY, "--workdir", workdir)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"report: {workdir / 'report.html'}" in done.stdout
    return workdir


@pytest.fixture
def finished(reference: Path, tmp_path: Path) -> Path:
    """A copy of the reference, to be damaged."""
    shutil.copytree(reference, tmp_path / "run")
    return tmp_path / "run"
