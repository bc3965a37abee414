"""Fixtures of the tests of faults: their own file systems, where the user may mount some."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from mounts import may_mount

Mount = Callable[..., None]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """mount(place, *options): mounts there during the test."""
    with ExitStack() as mounted:

        def mounts(place: Path, *options: str) -> None:
            subprocess.run(["mount", *options, str(place)], check=True, timeout=60)
            mounted.callback(subprocess.run, ["umount", "--lazy", str(place)], check=True, timeout=60)

        yield mounts


@pytest.fixture
def make_read_only(mount: Mount) -> Iterator[Callable[[Path], None]]:
    """make_read_only(folder): until the end of the test nobody can write there, not even root."""
    with ExitStack() as undo:

        def makes(folder: Path) -> None:
            if may_mount():
                mount(folder, "--bind", str(folder))
                subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True, timeout=60)
            else:
                for place in (folder, *folder.rglob("*")):
                    mode = place.stat().st_mode
                    place.chmod(mode & ~0o222)
                    undo.callback(place.chmod, mode)

        yield makes
