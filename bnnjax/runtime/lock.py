"""One process at a time in a directory: of a run, or of a data set that is being prepared."""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from bnnjax.runtime.console import complain

LOCK = ".lock"  # in the directory, while a process has it; says which
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextlib.contextmanager
def hold(
    directory: Path, name: str = "work directory", advice: str = "choose another --workdir"
) -> Iterator[None]:
    """Holds a directory for this process.

    The kernel takes the lock back when the process ends, in whatever way.  On a file system without locks
    nothing is held, and a sentence on stderr says so.

    Args:
      directory: made if it is not there; at the end what was made is removed again if it is empty.
      name: what sentences call it.
      advice: what they end with.

    Raises:
      ValueError: if another process holds it, it is a file, or it cannot be written.
    """
    made = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    try:
        descriptor = _locked_file(directory, f"{name} {directory}", advice)
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


def check_writable(directory: Path) -> None:
    """Checks that a directory can be held, before work begins whose results are to go there.

    Raises:
      ValueError: as `hold`.
    """
    with hold(directory):
        pass


def _locked_file(directory: Path, what: str, advice: str) -> int:
    """Returns a descriptor of the lock file, which is locked while that is open, and names this process."""
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
        os.close(descriptor)  # its holder removed it after it was opened here


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
