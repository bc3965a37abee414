"""A cache of decoded splits, so that a second run starts at once.

Its key is the sha256 of the record files, so what it gives is what decoding them would give; a record file
that is damaged later has another key and is read, and refused, as ever.
"""

import contextlib
import hashlib
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from bnnjax.cache import cache_directory
from bnnjax.data.dataset import Split
from bnnjax.data.prepared import image_features, read_split

FORMAT = 1  # part of the key; raise it when decoding changes


def split_key(builder: Any, split: str) -> str:
    """Returns the sha256, in hexadecimal, of all that a decoded split depends on.

    Raises:
      OSError: a record file cannot be read.
    """
    sha = hashlib.sha256(f"{FORMAT} {image_features(builder)}".encode())
    for file in builder.info.splits[split].file_instructions:
        sha.update(f"{file.examples_in_shard}".encode())
        with open(file.filename, "rb") as records:
            sha.update(hashlib.file_digest(records, "sha256").digest())
    return sha.hexdigest()


def cached_split(builder: Any, split: str) -> Split:
    """Returns `read_split(builder, split)`, from the cache where it is there.

    Raises:
      DataError: as `read_split` does.
    """
    try:
        path = cache_directory() / "decoded" / f"{split_key(builder, split)}.npz"
    except OSError:
        return read_split(builder, split)  # which says what is wrong with the file
    try:
        with open(path, "rb") as file, np.load(file) as stored:  # checks the CRC of each array
            return Split(stored["images"], stored["labels"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        decoded = read_split(builder, split)
        store(path, decoded)
        return decoded


def store(path: Path, split: Split) -> None:
    """Writes a split whole or not at all; where the cache cannot be written, there is none."""
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(unfinished, "wb") as file:
            np.savez(file, images=split.images, labels=split.labels)
        unfinished.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            unfinished.unlink()
