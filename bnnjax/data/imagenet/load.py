"""ImageNet as a data set whose images are streamed."""

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from bnnjax.data.augment import Augmentation
from bnnjax.data.dataset import DataError, Dataset, Split
from bnnjax.data.streaming.lazy_array import stored_images, stored_labels
from bnnjax.data.streaming.records import Records, open_records
from bnnjax.data.streaming.stream import Stream
from bnnjax.data.tfds import data_root, only_version, open_prepared
from bnnjax.runtime.cache import cache_directory
from bnnjax.runtime.files import open_atomically

# Of the training images of ImageNet, per channel, as the published recipes use them.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HELD_OUT = 10_000  # training images; of fewer than 100,000 a tenth
TAIL = 1 << 16  # bytes at the end of a file, where array_record keeps the places of its records


@dataclass(frozen=True, kw_only=True)
class StreamedDataset(Dataset):
    """A data set whose training images come from a stream; its splits are arrays that are read lazily.

    The images of `train` are centre crops too, as for a test.
    """

    stream: Stream


def held_out(examples: int, wanted: int) -> np.ndarray:
    """Marks `wanted` of the stored records, evenly spaced, bool [examples].

    The stored order is random, so labels need not be known: every class has about the same share.

    Raises:
      DataError: `wanted` is not 1 to examples - 1.
    """
    if not 1 <= wanted < examples:
        raise DataError(f"cannot hold out {wanted} of {examples} images: allowed is 1 to {examples - 1}.")
    marked = np.zeros(examples, bool)
    marked[(2 * np.arange(wanted) + 1) * examples // (2 * wanted)] = True
    return marked


def digest_of_files(directory: Path) -> str:
    """Returns the sha256, in hexadecimal, of a prepared set without reading it all.

    It covers the description of the set, the names and sizes of all files, and the end of each, where the
    places of all records are: another choice, order or encoding of images has another digest.  It does not
    cover the pixels; those of every record are protected by a checksum that is verified when it is read.

    Raises:
      DataError: a file cannot be read.
    """
    sha = hashlib.sha256()
    try:
        for path in sorted(path for path in directory.iterdir() if path.is_file()):
            size = path.stat().st_size
            with open(path, "rb") as file:
                file.seek(max(size - TAIL, 0))
                sha.update(f"{path.name} {size} ".encode() + file.read())
    except OSError as error:
        raise DataError(f"cannot read {error.filename}: {error.strerror}.") from error
    return sha.hexdigest()


def cached(name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """Returns an array from the cache, or makes it and writes it there if the cache can be written."""
    path = cache_directory() / "labels" / f"{name}.npy"
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        array = make()
    with contextlib.suppress(OSError), open_atomically(path) as file:
        np.save(file, array)
    return array


def load_imagenet(
    data_dir: Path | None = None,
    *,
    size: int = 224,
    validation_examples: int | None = None,
    train_examples: int | None = None,
    augmentation: Augmentation | None = None,
    workers: int | None = None,
    timeout: float = 300.0,
    skip_corrupt: bool = False,
) -> StreamedDataset:
    """Opens prepared ImageNet; its validation split is the test split.

    Labels of the held-out and the test images are read the first time, and kept in the cache.

    Args:
      data_dir: see `data_root`.
      size: of crops.
      validation_examples: training images that are held out; see HELD_OUT.
      train_examples: use only the first so many other training images, in stored order, which is random.
      augmentation: on the device; flips by default.
      workers: processes that make batches; by default the CPU cores.
      timeout: seconds without a batch after which the workers count as hanging.
      skip_corrupt: skip damaged images; see `Stream` and `Stored`.

    Raises:
      DataError: it is not there, damaged, or of another kind; or an argument is out of range.
    """
    root = data_root(data_dir)
    if not (root / "imagenet2012").is_dir():
        raise DataError(
            f"there is no imagenet2012 in {root}: prepare it from its official files by "
            "bnnjax prepare imagenet2012 --from DIR."
        )
    directory = only_version(root / "imagenet2012")
    builder = open_prepared(directory, ("train", "validation"))
    train, test = open_records(builder, "train"), open_records(builder, "validation")
    marked = held_out(len(train), validation_examples or max(min(HELD_OUT, len(train) // 10), 1))
    places = np.flatnonzero(~marked).astype(np.int32)
    if train_examples is not None:
        if not 1 <= train_examples <= len(places):
            raise DataError(f"cannot train on {train_examples} images: allowed is 1 to {len(places)}.")
        places = places[:train_examples]
    files = digest_of_files(directory)
    choice = f"{files} {size} {np.count_nonzero(marked)} {len(places)}"

    def split(records: Records, places: np.ndarray, name: str | None) -> Split:
        images = stored_images(records, places, size, skip_corrupt=skip_corrupt)
        labels: Any = stored_labels(records, places, skip_corrupt=skip_corrupt)
        if name is not None:
            labels = cached(f"{files}-{name}-{len(places)}-{skip_corrupt:d}", labels.__array__)
        return Split(cast(np.ndarray, images), labels)  # used like arrays

    return StreamedDataset(
        name="imagenet2012",
        class_names=tuple(builder.info.features["label"].names),
        train=split(train, places, None),
        validation=split(train, np.flatnonzero(marked), "held-out"),
        test=split(test, np.arange(len(test)), "validation"),
        augmentation=augmentation or Augmentation(flip=True),
        mean=MEAN,
        std=STD,
        source=str(directory),
        digest=hashlib.sha256(choice.encode()).hexdigest(),
        stream=Stream(
            records=train,
            places=places,
            size=size,
            workers=(os.cpu_count() or 1) if workers is None else workers,
            timeout=timeout,
            skip_corrupt=skip_corrupt,
        ),
    )


def found_damaged(dataset: Dataset) -> np.ndarray:
    """Returns which images of the held-out and test splits this process found damaged, bool [images]."""
    images: tuple[Any, Any] = (dataset.validation.images, dataset.test.images)
    return np.concatenate([np.isin(each.places, sorted(each.skipped)) for each in images])
