"""Fixtures of all tests: processes, the digits, a tiny experiment, and time limits."""

import faulthandler
import gc
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import matplotlib
import pytest
from imagenet_set import prepare, write_tars
from jax.experimental.compilation_cache.compilation_cache import reset_cache
from processes import LIMIT, Finished, Process, Run, Start, finish, start_python
from runs import TINY
from shared import made_once

from bnnjax.runtime.signals import STOPS

# Most of the time goes into compiling, which each of these halves; runs that tests start are not affected.
jax.config.update("jax_disable_most_optimizations", True)
if jax.__version_info__ < (0, 11):  # later versions have no other emitters
    flags = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
# Tracing makes a million small objects that stay; looking for garbage among them takes long.
gc.set_threshold(100_000, 20, 20)

ROOT = Path(__file__).parents[1]
STDERR = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "the directory of the README's first run; left out: it is trained anew, for two epochs"
    parser.addoption("--first-run", type=Path, help=text)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[STDERR] = os.dup(2)  # nothing is captured yet


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begins slow tests with the modules that may take longest, lest one process has them at the end."""
    if config.getoption("markexpr") != "slow":
        return
    longest: dict[str, float] = {}
    for item in items:
        mark = item.get_closest_marker("timeout")
        limit = float(mark.args[0]) if mark is not None else 0.0
        module = item.nodeid.partition("::")[0]
        longest[module] = max(limit, longest.get(module, 0.0))
    items.sort(key=lambda item: -longest[item.nodeid.partition("::")[0]])


def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool:
    """Ends a process of pytest whose test takes too long, with the stacks of all threads on stderr.

    In place of pytest-timeout's own ways: of its threads' output nothing is seen where pytest has several
    processes, and they wait for Python's lock, which what hangs may hold.
    """
    faulthandler.dump_traceback_later(settings.timeout, exit=True, file=item.config.stash[STDERR])
    return True


def pytest_timeout_cancel_timer(item: pytest.Item) -> bool:
    faulthandler.cancel_dump_traceback_later()
    return True


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of this run of pytest, the same for all of its processes."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def caches(request: pytest.FixtureRequest, shared_folder: Path) -> Path:
    """A directory for caches, in pytest's own where it has one, so that they outlive this run of pytest."""
    kept: pytest.Cache | None = getattr(request.config, "cache", None)
    return shared_folder if kept is None else kept.mkdir("caches")


@pytest.fixture(scope="session", autouse=True)
def _compiled(caches: Path) -> None:
    """A compilation cache, unless JAX has one: tests compile many programs alike."""
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(caches / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        reset_cache()  # JAX has decided already if a module made an array


@pytest.fixture(scope="module", autouse=True)
def _forgotten() -> Iterator[None]:
    """Frees the programs that a module has compiled."""
    yield
    jax.clear_caches()


@pytest.fixture(autouse=True)
def _signals_put_back() -> Iterator[None]:
    """What a command called in a test does about signals ends with the test."""
    before = {number: signal.getsignal(number) for number in STOPS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def environment(caches: Path) -> dict[str, str]:
    """For processes: bnnjax's caches, one for all, no network, messages as in a log file."""
    without = ("COLUMNS", "XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR", "GLIBC_TUNABLES")
    keep = {name: value for name, value in os.environ.items() if name not in without}
    return keep | {
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",  # XLA calls a compilation slow when the machine is busy
        "PYTHONUNBUFFERED": "1",  # what a process has printed is not lost when it is killed
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "XDG_CACHE_HOME": str(caches),
        "MPLCONFIGDIR": matplotlib.get_configdir(),  # else each first process lists the fonts anew
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
    }


@pytest.fixture(scope="session")
def started() -> list[Process]:
    """The processes that the present test has started."""
    return []


@pytest.fixture(autouse=True)
def _outlived_by_none(started: list[Process]) -> Iterator[None]:
    """No process outlives the test that started it."""
    yield
    for process in started:
        with process:
            process.kill()
    started.clear()


@pytest.fixture(scope="session")
def start(environment: dict[str, str], started: list[Process]) -> Start:
    def starts(*arguments: object, cwd: Path | None = None, **variables: str | None) -> Process:
        everything = {**environment, **variables}
        given = {name: value for name, value in everything.items() if value is not None}
        started.append(start_python(arguments, given, cwd))
        return started[-1]

    return starts


@pytest.fixture(scope="session")
def run(start: Start) -> Run:
    def runs(
        *arguments: object, cwd: Path | None = None, limit: float = LIMIT, **variables: str | None
    ) -> Finished:
        return finish(start(*arguments, cwd=cwd, **variables), limit)

    return runs


@pytest.fixture(scope="session")
def digits_dir(shared_folder: Path) -> Path:
    """A data directory in which the digits are prepared."""
    from bnnjax.data import load_digits

    return made_once(shared_folder, "digits", load_digits)


@pytest.fixture(scope="session")
def imagenet_tars(shared_folder: Path) -> Path:
    """A directory with tiny official tar files."""
    return made_once(shared_folder, "tars", write_tars)


@pytest.fixture(scope="session")
def imagenet_dir(imagenet_tars: Path, run: Run, shared_folder: Path) -> Path:
    """A data directory in which the command has prepared them, with two processes."""

    def make(root: Path) -> None:
        synsets = imagenet_tars / "synsets.txt"
        done = prepare(run, imagenet_tars, root, "--synsets", synsets, "--jobs", 2)
        assert (done.returncode, done.stderr) == (0, "")
        assert (
            "120 train images and 20 validation images of 5 synsets, not counted against any" in done.stdout
        )

    return made_once(shared_folder, "imagenet", make)


@pytest.fixture(scope="session")
def reference(run: Run, shared_folder: Path) -> Path:
    """The directory of an undisturbed run of the tiny experiment; it must not be changed."""

    def make(workdir: Path) -> None:
        done = run(TINY, "--workdir", workdir)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"report: {workdir / 'report.html'}" in done.stdout

    return made_once(shared_folder, "reference", make)


@pytest.fixture
def finished(reference: Path, tmp_path: Path) -> Path:
    """A copy of the reference, to be damaged."""
    shutil.copytree(reference, tmp_path / "run")
    return tmp_path / "run"
