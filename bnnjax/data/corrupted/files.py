"""Sets of corrupted test images that are read from TFDS records or image folders while they are used."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bnnjax.data.corrupted.arrays import CorruptedSet, Noisy, checked_set, in_test_order, number_of_images
from bnnjax.data.dataset import DataError, Dataset, is_hidden
from bnnjax.data.tfds import READ_AT_ONCE, decode, image_features, one_line, only_version, open_prepared

IMAGE_SUFFIXES = {".jpeg", ".jpg", ".png"}
# TFDS's cifar10_corrupted has two names of its own.
TFDS_NAMES = {"frosted_glass_blur": "glass_blur", "elastic": "elastic_transform"}
THREADS = min(32, os.cpu_count() or 1)

# corruption -> severity -> directory
Directories = Mapping[str, Mapping[int, Path]]


def read_ahead(read: Callable[[slice], Noisy], examples: int, batch_size: int) -> Iterator[Noisy]:
    """Yields `read` of all batches in order; the next batch is read while one is used."""
    parts = [slice(first, min(first + batch_size, examples)) for first in range(0, examples, batch_size)]
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read, parts[0])
        for part in parts[1:]:
            ready, coming = coming.result(), reader.submit(read, part)
            yield ready
        yield coming.result()


def same_severities(where: Path, found: Directories) -> tuple[int, ...]:
    """Returns the severities that all corruptions have.

    Raises:
      DataError: one lacks a severity that another has.
    """
    severities = sorted({severity for by_severity in found.values() for severity in by_severity})
    for name, by_severity in sorted(found.items()):
        if lacking := [str(severity) for severity in severities if severity not in by_severity]:
            raise DataError(
                f"{where} lacks severity {', '.join(lacking)} of {name}, which another corruption has."
            )
    return tuple(severities)


def prepared_directories(where: Path) -> Directories:
    """Returns the directories of prepared sets NAME_SEVERITY; empty if there is none."""
    found: dict[str, dict[int, Path]] = {}
    for info in sorted(where.glob("*/*/dataset_info.json")):
        if match := re.fullmatch(r"(\w+)_([1-9])", info.parents[1].name):
            name = TFDS_NAMES.get(match[1], match[1])
            found.setdefault(name, {})[int(match[2])] = info.parents[1]
    return found


def prepared_corrupted(
    where: Path, dataset: Dataset, *, examples: int | None = None, batch_size: int = 1000
) -> CorruptedSet:
    """Returns a set in TFDS's form: `where`/NAME_SEVERITY/VERSION, in array_record files.

    TFDS stores all of them in one order of its own; the labels show whether it is that of the test set.

    Args:
      where: `cifar10_corrupted` or `imagenet2012_corrupted` below a data directory, or one like it.
      dataset: what the set must fit.
      examples: the first so many; all by default.
      batch_size: of all batches but the last.

    Raises:
      DataError: a description or a record file is missing or damaged, or the set does not fit the data set.
      ValueError: `examples` or `batch_size` is out of range.
    """
    found = prepared_directories(where)
    severities = same_severities(where, found)
    name = min(found)
    builder, split = open_fitting(found[name][severities[0]], dataset)
    labels = read_labels(builder, split, len(dataset.class_names))
    used = number_of_images(examples, len(labels), batch_size)
    shape = dataset.test.images.shape[1:]

    def batches(corruption: str, severities: tuple[int, ...]) -> Iterator[Noisy]:
        opened = [open_fitting(found[corruption][severity], dataset) for severity in severities]
        sources = [data_source(builder, split) for builder, split in opened]
        for (builder, _), source in zip(opened, sources, strict=True):
            if len(source) != len(labels):
                raise DataError(f"{builder.data_dir} has {len(source)} images, others {len(labels)}.")

        builders = [builder for builder, _ in opened]
        with ThreadPoolExecutor(THREADS) as pool:
            read = partial(_read_prepared, builders, sources, labels, shape, pool)
            yield from read_ahead(read, used, batch_size)

    source = f"TFDS {where.name} {builder.version} in {where.parent}"
    return checked_set(source, found, severities, used, in_test_order(labels, dataset), batches)


def _read_prepared(
    builders: Sequence[Any],
    sources: Sequence[Any],
    labels: np.ndarray,
    shape: tuple[int, int, int],
    pool: ThreadPoolExecutor,
    part: slice,
) -> Noisy:
    """Returns some images of a corruption, at each severity; there is a builder for each."""
    images = np.empty((len(sources), part.stop - part.start, *shape), np.uint8)
    for place, (builder, source) in enumerate(zip(builders, sources, strict=True)):
        encoded, own = read_records(builder, source, part)
        if np.any(own != labels[part]):
            raise DataError(f"{builder.data_dir} has its images in another order than the others.")
        try:
            images[place] = list(pool.map(lambda data: decode(data, shape), encoded))
        except Exception as error:  # any type: Pillow has a family of its own
            raise damaged(builder.data_dir, error) from error
    return Noisy(images, labels[part])


def damaged(path: Any, error: BaseException) -> DataError:
    return DataError(f"cannot read {path}, it is damaged or incomplete: {one_line(error)}")


def open_fitting(directory: Path, dataset: Dataset) -> tuple[Any, str]:
    """Returns the builder of the one version in `directory`, and its split of corrupted images.

    Raises:
      DataError: it cannot be opened, or its images or classes are not those of the data set.
    """
    builder = open_prepared(only_version(directory), splits=())
    names = sorted(builder.info.splits)
    if len(names) != 1:
        raise DataError(
            f"{builder.data_dir} has the splits {names}: one split of corrupted images is needed."
        )
    shape, classes = image_features(builder)
    expected, own = dataset.test.images.shape[1:], dataset.class_names
    if (shape, classes) != (expected, len(own)):
        raise DataError(
            f"{builder.data_dir} has {classes} classes and images of shape {shape}: {dataset.name} has "
            f"{len(own)} and {expected}."
        )
    classes_named = tuple(builder.info.features["label"].names)
    # TFDS's cifar10_corrupted has numbers for names.
    if classes_named not in (own, tuple(map(str, range(classes)))):
        raise DataError(
            f"{builder.data_dir} has the classes {', '.join(classes_named[:3])}, ...: {dataset.name} has "
            f"{', '.join(own[:3])}, ..."
        )
    return builder, names[0]


def data_source(builder: Any, split: str) -> Any:
    """Returns the encoded records of a split, by place."""
    import tensorflow_datasets as tfds

    try:
        return builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    except Exception as error:  # any type: array_record raises RuntimeError
        raise damaged(builder.data_dir, error) from error


def read_records(builder: Any, source: Any, part: slice) -> tuple[list[bytes], np.ndarray]:
    """Returns the encoded images and the labels, int32, of some records.

    Raises:
      DataError: one is damaged.
    """
    try:
        records = source.__getitems__(list(range(part.start, part.stop)))
        # From a truncated file array_record may return records without contents.
        labels = np.array([record["label"] for record in records], np.int32)
        return [record["image"] for record in records], labels
    except Exception as error:  # any type: array_record and protobuf have families of their own
        raise damaged(builder.data_dir, error) from error


def read_labels(builder: Any, split: str, classes: int) -> np.ndarray:
    """Returns all labels, int32 [n].

    Raises:
      DataError: a record is damaged, a label is not a class, or there is none.
    """
    source = data_source(builder, split)
    parts = [slice(a, min(a + READ_AT_ONCE, len(source))) for a in range(0, len(source), READ_AT_ONCE)]
    none = np.empty(0, np.int32)
    labels = np.concatenate([none, *(read_records(builder, source, part)[1] for part in parts)])
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= classes:
        raise DataError(f"{builder.data_dir} is empty or has a label that is not one of {classes} classes.")
    return labels


def image_folders(where: Path) -> Directories:
    """Returns the folders NAME/SEVERITY, also those one level down (GROUP/NAME/SEVERITY); empty if none."""

    def folders(path: Path) -> list[Path]:
        return sorted(each for each in path.iterdir() if each.is_dir() and not is_hidden(each))

    def severities(path: Path) -> dict[int, Path]:
        return {int(each.name): each for each in folders(path) if re.fullmatch("[1-9]", each.name)}

    found: dict[str, dict[int, Path]] = {}
    for folder in folders(where):
        for each in [folder] if severities(folder) else folders(folder):
            if own := severities(each):
                found[each.name] = own
    return found


def folder_images(folder: Path) -> list[str]:
    """Returns CLASS/FILE of all images in the folder of a severity, sorted."""
    return sorted(
        f"{kind.name}/{file.name}"
        for kind in folder.iterdir()
        if kind.is_dir() and not is_hidden(kind)
        for file in kind.iterdir()
        if file.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(file)
    )


def _read_file(shape: tuple[int, int, int], path: Path) -> np.ndarray:
    try:
        return decode(path.read_bytes(), shape)
    except Exception as error:  # any type: Pillow has a family of its own
        raise damaged(path, error) from error


def _read_folders(
    folders: Sequence[Path],
    files: Sequence[str],
    labels: np.ndarray,
    shape: tuple[int, int, int],
    pool: ThreadPoolExecutor,
    part: slice,
) -> Noisy:
    """Returns some images of a corruption, at each severity; there is a folder for each."""
    paths = [folder / file for folder in folders for file in files[part]]
    images = np.stack(list(pool.map(partial(_read_file, shape), paths)))
    return Noisy(images.reshape(len(folders), -1, *shape), labels[part])


def folder_corrupted(
    where: Path, dataset: Dataset, *, examples: int | None = None, batch_size: int = 1000
) -> CorruptedSet:
    """Returns a set in ImageNet-C's form: `where`/[GROUP/]NAME/SEVERITY/CLASS/FILE.

    Label k is the k-th class folder in sorted order, as for ImageNet's synsets; if the folders have the data
    set's own class names, its order counts.  Never aligned: the files are sorted by class, so labels cannot
    show that the test set has the images in the same order.

    Args:
      where: the folder of folders.
      dataset: what the set must fit.
      examples: how many images, evenly spread over the sorted files and so over the classes; all by default.
      batch_size: of all batches but the last.

    Raises:
      DataError: a file is missing or damaged, or the set does not fit the data set.
      ValueError: `examples` or `batch_size` is out of range.
    """
    found = image_folders(where)
    severities = same_severities(where, found)
    files = folder_images(found[min(found)][severities[0]])
    classes = sorted({file.split("/")[0] for file in files})
    if len(classes) != len(dataset.class_names):
        raise DataError(
            f"{found[min(found)][severities[0]]} has images in {len(classes)} class folders: "
            f"{dataset.name} has {len(dataset.class_names)} classes."
        )
    order = dataset.class_names if {*classes} == {*dataset.class_names} else classes
    number = {name: label for label, name in enumerate(order)}
    used = number_of_images(examples, len(files), batch_size)
    chosen = [files[place * len(files) // used] for place in range(used)]
    labels = np.array([number[file.split("/")[0]] for file in chosen], np.int32)
    shape = dataset.test.images.shape[1:]

    def batches(corruption: str, severities: tuple[int, ...]) -> Iterator[Noisy]:
        folders = [found[corruption][severity] for severity in severities]
        for folder in folders:
            if odd := sorted({*folder_images(folder)} ^ {*files}):
                raise DataError(f"{folder} does not hold the same images as the others: {odd[0]} differs.")

        with ThreadPoolExecutor(THREADS) as pool:
            read = partial(_read_folders, folders, chosen, labels, shape, pool)
            yield from read_ahead(read, used, batch_size)

    return checked_set(f"image folders in {where}", found, severities, used, False, batches)
