"""Files that one of pytest's processes makes for all of them."""

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def made_once(folder: Path, name: str, make: Callable[[Path], object]) -> Path:
    """Returns the named directory in a folder that pytest's processes share; one of them makes it."""
    place, mark = folder / name, folder / f"{name}.made"
    with FileLock(folder / f"{name}.lock"):
        if not mark.exists():
            place.mkdir(exist_ok=True)  # another may have failed
            make(place)
            mark.touch()
    return place
