"""Reads CIFAR-10's binary archive: six files of records, each one label byte and 3072 pixel bytes.

Pixels are stored plane by plane (red, green, blue), each plane row by row. The archive is never
extracted to disk: its members are read into memory, and only those whose name and size fit.
"""

import gzip
import tarfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np

from bnnjax.data.dataset import DataError, Split

TRAIN_FILES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST_FILE = "test_batch.bin"
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
RECORD_BYTES = 1 + 3 * 32 * 32


def read_archive(path: Path, batch_examples: int = 10_000) -> dict[str, Split]:
    """The train and test splits of an archive, in the order of its files.

    A repacked archive is as good as the official one: the five training files and the test file must
    be there, once each, of exactly the right size, with labels 0 to 9, and the checksum of the
    compressed stream must match.

    Args:
      path: a .tar.gz file.
      batch_examples: images in each of the six files.

    Raises:
      DataError: the file is missing, damaged, or not such an archive.
    """
    if not path.is_file():
        raise DataError(f"the archive {path} does not exist.")
    try:
        members = read_members(path, batch_examples * RECORD_BYTES)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DataError(f"the archive {path} is damaged or not a .tar.gz file: {error}") from error
    missing = [name for name in (*TRAIN_FILES, TEST_FILE) if name not in members]
    if missing:
        raise DataError(f"the archive {path} lacks {missing[0]}: it is not the binary version of CIFAR-10.")
    parts = {name: records(path, name, data) for name, data in members.items()}
    images, labels = zip(*(parts[name] for name in TRAIN_FILES), strict=True)
    train = Split(np.concatenate(images), np.concatenate(labels))
    return {"train": train, "test": parts[TEST_FILE]}


def read_members(path: Path, size: int) -> dict[str, bytes]:
    """The bytes of the batch files by name, in whichever folder of the archive they are."""
    members: dict[str, bytes] = {}
    with gzip.open(path) as stream:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                if name not in (*TRAIN_FILES, TEST_FILE):
                    continue
                if name in members:
                    raise DataError(f"the archive {path} holds {name} twice.")
                # Checked before reading, so that a hostile archive cannot fill the memory.
                file = tar.extractfile(member) if member.isfile() and member.size == size else None
                if file is None:
                    raise DataError(f"{name} in the archive {path} has {member.size} bytes, not {size}.")
                members[name] = file.read()
        while stream.read(1 << 20):  # gzip verifies its checksum at the very end only
            pass
    return members


def records(path: Path, name: str, data: bytes) -> Split:
    """Splits the records of one file into images, uint8 [n, 32, 32, 3], and labels."""
    rows = np.frombuffer(data, dtype=np.uint8).reshape(-1, RECORD_BYTES)
    labels = rows[:, 0].astype(np.int32)
    if labels.max() > 9:
        raise DataError(f"{name} in the archive {path} has the label {labels.max()}: allowed is 0 to 9.")
    planes = rows[:, 1:].reshape(-1, 3, 32, 32)
    return Split(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels)
