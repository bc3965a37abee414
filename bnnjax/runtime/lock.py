"""Locks on directories: one process at a time in a run, or in a data set that is being prepared."""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from bnnjax.runtime.console import complain

LOCK = ".lock"  # in the directory while a process holds it; names the process
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextlib.contextmanager
def hold(
    directory: Path, name: str = "work directory", advice: str = "choose another --workdir"
) -> Iterator[None]:
    """Locks a directory for this process.

    The kernel releases the lock when the process ends, however it ends.  On a file system without locks
    nothing is locked, and a sentence on stderr says so.

    Args:
      directory: made if it is missing; at the end the folders made here are removed again if they are empty.
      name: what error messages call the directory.
      advice: how error messages end.

    Raises:
      ValueError: if another process holds the directory, it is a file, or it cannot be written.
    """
    made = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    try:
        descriptor = _locked_file(directory, f"{name} {directory}", advice)
        try:
            yield
        finally:
            # Removed while still locked: a process that has opened it by now will find that it is gone.
            with contextlib.suppress(OSError):
                (directory / LOCK).unlink()
            os.close(descriptor)
    finally:
        with contextlib.suppress(OSError):  # not empty
            for folder in made:
                folder.rmdir()


def check_writable(directory: Path) -> None:
    """Checks that a directory can be locked, before work begins whose results go there.

    Raises:
      ValueError: as `hold`.
    """
    with hold(directory):
        pass


def _locked_file(directory: Path, what: str, advice: str) -> int:
    """Writes this process into the lock file; returns its descriptor, which holds the lock until closed."""
    path = directory / LOCK
    while True:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileExistsError as error:
            raise ValueError(f"{what} is a file; {advice}") from error
        except OSError as error:
            raise ValueError(f"{what} cannot be written: {error.strerror}") from error
        try:
            _lock(descriptor, directory)
            if _is_file(descriptor, path):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
                return descriptor
        except BlockingIOError as error:
            holder = os.pread(descriptor, 1000, 0).decode(errors="replace") or "another process"
            os.close(descriptor)
            raise ValueError(f"{what} is in use by {holder}; {advice}") from error
        except OSError as error:
            os.close(descriptor)
            raise ValueError(f"{what} cannot be written: {error.strerror}") from error
        os.close(descriptor)  # its holder removed the file after it was opened here


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        complain(
            f"{directory} cannot be locked ({error.strerror}): a second process there would not be refused"
        )


def _is_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
