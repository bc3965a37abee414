"""A cache of decoded data sets, so that a second run starts at once, without importing TFDS.

Its key is the sha256 of all files of the data set, so the cache returns what reading them would; a file that
is damaged later changes the key, is read, and is refused as without a cache.
"""

import contextlib
import hashlib
import zipfile
from pathlib import Path

import numpy as np

from bnnjax.data.dataset import Split
from bnnjax.data.tfds import Stored, read_prepared
from bnnjax.runtime.cache import cache_directory
from bnnjax.runtime.files import open_atomically

FORMAT = 3  # part of the key; raise it when decoding changes


def content_key(directory: Path) -> str:
    """Returns the sha256, in hexadecimal, of the names and contents of all files of a directory.

    Raises:
      OSError: one cannot be read.
    """
    sha = hashlib.sha256(f"{FORMAT}".encode())
    for path in sorted(path for path in directory.iterdir() if path.is_file()):
        with open(path, "rb") as file:
            sha.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}".encode())
    return sha.hexdigest()


def read_cached(directory: Path) -> Stored:
    """Returns `read_prepared(directory)`, from the cache if it has the data set.

    Raises:
      DataError: as `read_prepared` does.
    """
    try:
        path = cache_directory() / "decoded" / f"{content_key(directory)}.npz"
    except OSError:
        return read_prepared(directory)  # which says what is wrong with the file
    try:
        with open(path, "rb") as file, np.load(file) as arrays:  # checks the CRC of each array
            splits = {
                name: Split(arrays[f"{name}_images"], arrays[f"{name}_labels"])
                for name in ("train", "test", "validation")
                if f"{name}_images" in arrays
            }
            names = tuple(map(str, arrays["class_names"]))
            return Stored(
                str(arrays["name"]), names, splits["train"], splits["test"], splits.get("validation")
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        decoded = read_prepared(directory)
        store(path, decoded)
        return decoded


def store(path: Path, stored: Stored) -> None:
    """Writes a data set to the cache, whole or not at all; does nothing if the cache cannot be written."""
    splits = {"train": stored.train, "test": stored.test, "validation": stored.validation}
    arrays = {
        f"{name}_{field}": array
        for name, split in splits.items()
        if split is not None
        for field, array in split._asdict().items()
    }
    with contextlib.suppress(OSError), open_atomically(path) as file:
        np.savez(file, name=stored.name, class_names=stored.class_names, **arrays)
