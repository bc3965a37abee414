"""Tiny data sets in the real formats: everything CIFAR-10 has, with 20 images per file."""

import gzip
import http.server
import io
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from bnnjax.data.archive import TEST_FILE, TRAIN_FILES
from bnnjax.data.cifar10 import Origin, load_cifar10

BATCH = 20
Members = dict[str, bytes]


@pytest.fixture(autouse=True)
def strict_promotion() -> Iterator[None]:
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The user's cache is neither read nor filled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """serve(folder): the URL under which a local server offers the files of a folder."""
    servers = []

    def starts(folder: Path) -> str:
        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: object) -> None:
                super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

            def log_message(self, *_: object) -> None:
                pass

        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/"

    yield starts
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def origin() -> Origin:
    """Small counts, and a URL at which nobody listens."""
    return Origin(url="http://127.0.0.1:9/cifar-10-binary.tar.gz", batch_examples=BATCH, patience=2.0)


@pytest.fixture(scope="session")
def members() -> Members:
    """The six files of a tiny CIFAR-10: every image noise, every class twice in each file."""
    rng = np.random.default_rng(0)
    labels = np.arange(BATCH, dtype=np.uint8)[:, None] % 10
    return {
        name: np.hstack([labels, rng.integers(0, 256, (BATCH, 3072), dtype=np.uint8)]).tobytes()
        for name in (*TRAIN_FILES, TEST_FILE)
    }


def write_archive(path: Path, members: list[tuple[str, bytes]]) -> Path:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    path.write_bytes(gzip.compress(raw.getvalue(), mtime=0))
    return path


@pytest.fixture
def archive_of(tmp_path: Path) -> Callable[[list[tuple[str, bytes]]], Path]:
    return lambda members: write_archive(tmp_path / "cifar-10-binary.tar.gz", members)


@pytest.fixture
def archive(archive_of: Callable[[list[tuple[str, bytes]]], Path], members: Members) -> Path:
    return archive_of(list(members.items()))


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory, members: Members, origin: Origin) -> Path:
    """A data directory that holds the tiny CIFAR-10; tests that damage it take `prepared` instead."""
    root = tmp_path_factory.mktemp("data")
    archive = write_archive(root / "archive.tar.gz", list(members.items()))
    load_cifar10(root, archive=archive, validation_examples=10, origin=origin)
    return root


@pytest.fixture
def prepared(tmp_path: Path, pristine: Path) -> Path:
    """A copy of the tiny CIFAR-10's data directory, to be damaged."""
    shutil.copytree(pristine / "cifar10", tmp_path / "data" / "cifar10")
    return tmp_path / "data"
