"""Reads a prepared TFDS data set of small images into memory, without TensorFlow.

Checksums protect the records, so damage is found here and the file is named. Threads do not help:
decoding images this small spends its time under Python's lock.
"""

import io
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bnnjax.data.dataset import DataError, Split

READ_AT_ONCE = 1000  # records; keeps a failure close to its file and the encoded copies small
PIL_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class Description(NamedTuple):
    """What TFDS stores of a data set beside its images and labels."""

    name: str
    version: str
    class_names: tuple[str, ...]
    text: str  # what it is
    shape: tuple[int, ...] = (32, 32, 3)  # of its images
    coarse_labels: tuple[int, ...] = ()  # the superclass of each class, if that is stored too


class Stored(NamedTuple):
    """What a version directory holds."""

    name: str  # of the data set in TFDS
    class_names: tuple[str, ...]
    train: Split
    test: Split
    validation: Split | None = None  # where it has one


def data_root(data_dir: Path | None) -> Path:
    """The directory of all data sets, absolute: `data_dir`, else $TFDS_DATA_DIR, else ~/tensorflow_datasets.

    Raises:
      DataError: `data_dir` was given and is not a directory (the default need not exist yet), or there is no
        home directory.
    """
    given = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    try:
        root = Path(given).expanduser()
    except RuntimeError as error:
        raise DataError(f"there is no home directory for {given}: give another --data-dir.") from error
    if data_dir is not None and not root.is_dir():
        raise DataError(f"the data directory {root} does not exist: create it, or correct --data-dir.")
    return root.absolute()


def is_prepared(directory: Path) -> bool:
    """Whether a version of a data set is there; a preparation that was killed leaves none."""
    return any(directory.glob("*/dataset_info.json"))


def only_version(directory: Path) -> Path:
    """The version directory of a data set: the directory itself, or the only one below it.

    Raises:
      DataError: there are several, or none.
    """
    if (directory / "dataset_info.json").is_file():
        return directory
    versions = sorted(path.parent for path in directory.glob("*/dataset_info.json"))
    if len(versions) != 1:
        found = ", ".join(path.name for path in versions) or "none"
        raise DataError(f"{directory} should hold one prepared version, found: {found}.")
    return versions[0]


def open_prepared(directory: Path, splits: tuple[str, ...] = ("train", "test")) -> Any:
    """The read-only TFDS builder of one version directory, e.g. `root/cifar10/3.0.2`.

    Raises:
      DataError: a description file is missing or damaged, the records are in another format, or one of
        `splits` is not there.
    """
    import tensorflow_datasets as tfds

    for needed in ("dataset_info.json", "features.json"):
        if not (directory / needed).is_file():
            raise DataError(
                f"{directory} is not a complete TFDS data set, {needed} is missing: delete it and retry."
            )
    try:
        builder = tfds.builder_from_directory(directory)
        stored = builder.info.file_format
        names = set(builder.info.splits)
    except Exception as error:  # any type: a damaged description fails wherever TFDS first trips over it
        raise DataError(
            f"{directory} has a damaged dataset_info.json or features.json: {one_line(error)}"
        ) from error
    if stored != tfds.core.FileFormat.ARRAY_RECORD:
        kind = stored.value if stored else "no known"
        raise DataError(
            f"{directory} holds {kind} files, which cannot be read without TensorFlow: "
            "prepare it with file_format='array_record', or point --data-dir elsewhere."
        )
    if not {*splits} <= names:
        needed = " and ".join(map(repr, splits))
        raise DataError(f"{directory} has the splits {sorted(names)}: {needed} must be among them.")
    return builder


def read_prepared(directory: Path) -> Stored:
    """Decodes the splits train, test and, where there is one, validation of a version directory.

    Raises:
      DataError: as `open_prepared` and `read_split` do.
    """
    builder = open_prepared(directory)
    image_features(builder)
    names = tuple(builder.info.features["label"].names)
    validation = read_split(builder, "validation") if "validation" in builder.info.splits else None
    return Stored(builder.name, names, read_split(builder, "train"), read_split(builder, "test"), validation)


def read_split(builder: Any, split: str) -> Split:
    """Decodes every image of a split of an opened data set, in stored order.

    Raises:
      DataError: a record file is missing, damaged or too short, or has an image of another shape or a
        label that is not a class.
    """
    import tensorflow_datasets as tfds

    image_shape, classes = image_features(builder)
    skip = {"image": tfds.decode.SkipDecoding()}
    files = builder.info.splits[split].file_instructions
    images = np.empty((sum(file.examples_in_shard for file in files), *image_shape), dtype=np.uint8)
    labels = np.empty(len(images), dtype=np.int32)
    done = 0
    for file in files:
        end = done + file.examples_in_shard
        try:
            source = builder.as_data_source(split, decoders=skip)
            while done < end:
                records = source.__getitems__(list(range(done, min(done + READ_AT_ONCE, end))))
                for place, record in enumerate(records, start=done):
                    images[place] = decode(record["image"], image_shape)
                    labels[place] = record["label"]
                done += len(records)
        # array_record raises RuntimeError, protobuf and Pillow have families of their own.
        except Exception as error:
            raise DataError(
                f"cannot read {file.filename}, it is damaged or incomplete: {one_line(error)}"
            ) from error
    if len(labels) == 0:
        raise DataError(f"the split {split!r} in {builder.data_dir} is empty.")
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"a label of the split {split!r} in {builder.data_dir} is not one of its {classes} classes."
        )
    return Split(images, labels)


def image_features(builder: Any) -> tuple[tuple[int, int, int], int]:
    """The shape (h, w, c) of the images of an opened data set, and its number of classes.

    Raises:
      DataError: it is not a set of 8-bit images of one shape with one label each.
    """
    import tensorflow_datasets as tfds

    features = builder.info.features
    found = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    image, label = found.get("image"), found.get("label")
    if not isinstance(image, tfds.features.Image) or not isinstance(label, tfds.features.ClassLabel):
        raise DataError(
            f"{builder.data_dir} needs an 'image' and a 'label' that is a class, it has {sorted(found)}."
        )
    shape, classes = image.shape, label.num_classes
    if None in shape or shape[-1] not in PIL_MODES or image.np_dtype != np.uint8 or not classes:
        raise DataError(
            f"{builder.data_dir} has images of shape {shape} and type {image.np_dtype.__name__} and "
            f"{classes} classes: 8-bit images of one shape and a known number of classes are needed."
        )
    return shape, classes


def decode(encoded: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """Decodes a PNG or JPEG to uint8 [h, w, c].

    Raises:
      ValueError: the image has another shape. Pillow raises its own errors for what is no image.
    """
    from PIL import Image

    with Image.open(io.BytesIO(encoded)) as image:
        mode = PIL_MODES[shape[-1]]
        pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    if pixels.shape[:2] != shape[:2]:
        raise ValueError(f"an image has {pixels.shape[:2]} pixels, not {shape[:2]}")
    return pixels.reshape(shape)


def one_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
