"""One process at a time in a run directory."""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from bnnjax.report.console import complain

LOCK = ".lock"  # in the run directory, while a process has it; says which
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextlib.contextmanager
def hold(directory: Path) -> Iterator[None]:
    """Holds a run directory for this process.

    The kernel takes the lock back when the process ends, in whatever way.  On a file system without locks
    nothing is held, and stderr is told so.

    Args:
      directory: made if it is not there; at the end what was made is removed again if it is empty.

    Raises:
      ValueError: if another process holds it, it is a file, or it cannot be written.
    """
    made = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    try:
        descriptor = _locked_file(directory)
        try:
            yield
        finally:
            # While it is still locked: who has opened it by now will find that it is gone.
            with contextlib.suppress(OSError):
                (directory / LOCK).unlink()
            os.close(descriptor)
    finally:
        with contextlib.suppress(OSError):  # not empty
            for folder in made:
                folder.rmdir()


def _locked_file(directory: Path) -> int:
    """Returns a descriptor of the lock file, which is locked while that is open, and names this process."""
    path = directory / LOCK
    while True:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileExistsError as error:
            raise ValueError(f"work directory {directory} is a file; choose another --workdir") from error
        except OSError as error:
            raise _cannot_write(directory, error) from error
        try:
            _lock(descriptor, directory)
            if _is_file(descriptor, path):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
                return descriptor
        except BlockingIOError as error:
            holder = os.pread(descriptor, 1000, 0).decode(errors="replace") or "another process"
            os.close(descriptor)
            raise ValueError(
                f"work directory {directory} is in use by {holder}; choose another --workdir"
            ) from error
        except OSError as error:
            os.close(descriptor)
            raise _cannot_write(directory, error) from error
        os.close(descriptor)  # its holder removed it after it was opened here


def _cannot_write(directory: Path, error: OSError) -> ValueError:
    return ValueError(f"work directory {directory} cannot be written: {error.strerror}")


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        complain(f"{directory} cannot be locked ({error.strerror}): a second run there would not be refused")


def _is_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
