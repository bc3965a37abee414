"""The index of ImageNet's images in its official tar files or in a tree of folders, without reading them."""

import hashlib
import math
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from bnnjax.data.dataset import DataError, is_hidden

TRAIN_TAR, VALIDATION_TAR = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
TRAIN_FOLDER, VALIDATION_FOLDER = "train", "val"
OFFICIAL = {"train": 1_281_167, "validation": 50_000}  # images
SYNSET = re.compile(r"n\d{8}")
VALIDATION_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.jpe?g", re.IGNORECASE)
SUFFIXES = (".jpeg", ".jpg", ".png")
BLOCK = 512  # bytes; of tar

# (name, bytes before the image, bytes of the image) of each image of a container
Members = list[tuple[str, int, int]]


class Container(NamedTuple):
    """A tar file, the part of one that is a tar file itself, or a folder."""

    path: Path
    synset: str | None  # of all its images; None if their names tell
    offset: int = 0
    size: int | None = None


class Images(NamedTuple):
    """The images of a split, in an order that looks random and depends on their names alone."""

    containers: tuple[Container, ...]
    container: np.ndarray  # int32 [n], among containers
    offsets: np.ndarray  # int64 [n], bytes before the image
    sizes: np.ndarray  # int64 [n], bytes
    names: np.ndarray  # str [n]
    labels: np.ndarray  # int32 [n]

    def path(self, place: int) -> Path:
        """Returns the file that an image lies in."""
        path = self.containers[self.container[place]].path
        return path / str(self.names[place]) if path.is_dir() else path

    def read(self, place: int) -> bytes:
        """Returns an image as it is stored.

        Raises:
          DataError: the file is shorter than it was.
        """
        with open(self.path(place), "rb") as file:
            file.seek(int(self.offsets[place]))
            data = file.read(int(self.sizes[place]))
        if len(data) != self.sizes[place]:
            raise DataError(f"{self.path(place)} ends in the middle of {self.names[place]}.")
        return data


class Labels(NamedTuple):
    """The classes that are wanted, and the synset of each official validation image."""

    synsets: tuple[str, ...]  # sorted; label k is the k-th
    validation: tuple[str, ...]  # by the number in the image's name, less 1


def official_labels(synsets: Sequence[str] | None = None) -> Labels:
    """Returns the labels of ImageNet as TFDS ships them, of these synsets or of all 1,000.

    Raises:
      DataError: one of the synsets is not ImageNet's, or occurs twice, or there is none.
    """
    import tensorflow_datasets as tfds

    def lines(name: str) -> tuple[str, ...]:
        path = tfds.core.tfds_path(f"datasets/imagenet2012/{name}")
        try:
            return tuple(path.read_text().split())
        except OSError as error:
            raise DataError(f"the installed tensorflow-datasets has no {path}: install another.") from error

    everything = lines("labels.txt")
    wanted = everything if synsets is None else tuple(sorted(synsets))
    if odd := [name for name in wanted if name not in everything]:
        raise DataError(f"{odd[0]} is not one of ImageNet's {len(everything)} synsets.")
    if not wanted or len({*wanted}) != len(wanted):
        raise DataError(f"{len(wanted)} synsets, {len({*wanted})} of them different: name each once.")
    return Labels(wanted, lines("validation_labels.txt"))


def tar_members(file: BinaryIO, container: Container) -> Members:
    """Returns what a tar file, or the part of one that is a tar file itself, holds.

    Raises:
      DataError: it is damaged or truncated.
    """
    file.seek(container.offset)
    what = container.path if container.synset is None else f"{container.synset}.tar in {container.path}"
    found, end = [], container.offset
    limit = math.inf if container.size is None else container.offset + container.size
    try:
        with tarfile.TarFile(fileobj=file) as tar:
            for member in tar:
                if member.offset >= limit:  # of the file around it
                    break
                end = member.offset_data + -(-member.size // BLOCK) * BLOCK
                if member.isfile() and not is_hidden(Path(member.name)):
                    found.append((Path(member.name).name, member.offset_data, member.size))
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{what} is damaged or truncated: {error}.") from error
    # Python accepts the end of the file in place of the two blocks of zeros that end a tar file.
    file.seek(end)
    if end + BLOCK > limit or file.read(BLOCK) != bytes(BLOCK):
        raise DataError(f"{what} is truncated after {found[-1][0] if found else 'its beginning'}.")
    return found


def members(container: Container) -> Members:
    """Returns the images of a container.

    Raises:
      DataError: it cannot be read.
    """
    if container.path.is_dir():
        inside = container.path.iterdir()
        files = [path for path in inside if path.suffix.lower() in SUFFIXES and not is_hidden(path)]
        return [(path.name, 0, path.stat().st_size) for path in files]
    with open(container.path, "rb") as file:
        return tar_members(file, container)


def train_containers(place: Path, labels: Labels) -> tuple[Container, ...]:
    """Returns the containers of the training images, one per synset.

    Raises:
      DataError: there is neither the tar file nor the folder, or synsets are missing.
    """
    tar, folder = place / TRAIN_TAR, place / TRAIN_FOLDER
    if tar.is_file():
        with open(tar, "rb") as file:
            inside = tar_members(file, Container(tar, None))
        found = [Container(tar, Path(name).stem, offset, size) for name, offset, size in inside]
    elif folder.is_dir():
        found = [Container(path, path.name) for path in folder.iterdir() if path.is_dir()]
    else:
        raise DataError(f"{place} holds neither {TRAIN_TAR} nor a folder {TRAIN_FOLDER}.")
    where = tar if tar.is_file() else folder
    return in_order(where, found, labels)


def in_order(where: Path, found: Iterable[Container], labels: Labels) -> tuple[Container, ...]:
    """Returns one container for each synset that is wanted.

    Raises:
      DataError: a synset is missing.
    """
    known = {container.synset: container for container in found}
    if missing := [synset for synset in labels.synsets if synset not in known]:
        raise DataError(
            f"{where} has {len(labels.synsets) - len(missing)} of {len(labels.synsets)} synsets: "
            f"{missing[0]} is missing."
        )
    return tuple(known[synset] for synset in labels.synsets)


def validation_containers(place: Path, labels: Labels) -> tuple[Container, ...]:
    """Returns the containers of the validation images: one tar file or folder, or one folder per synset.

    Raises:
      DataError: there is none of them, or synsets are missing.
    """
    tar, folder = place / VALIDATION_TAR, place / VALIDATION_FOLDER
    if tar.is_file():
        return (Container(tar, None),)
    if not folder.is_dir():
        raise DataError(f"{place} holds neither {VALIDATION_TAR} nor a folder {VALIDATION_FOLDER}.")
    folders = [path for path in folder.iterdir() if path.is_dir() and SYNSET.fullmatch(path.name)]
    if not folders:
        return (Container(folder, None),)
    return in_order(folder, [Container(path, path.name) for path in folders], labels)


def synset_of(container: Container, name: str, labels: Labels) -> str:
    """Returns the synset of an image.

    Raises:
      DataError: its name is none of the official validation images'.
    """
    if container.synset is not None:
        return container.synset
    match = VALIDATION_NAME.fullmatch(name)
    if match is None or not 1 <= int(match[1]) <= len(labels.validation):
        raise DataError(f"{container.path} holds {name}, which is none of ImageNet's validation images.")
    return labels.validation[int(match[1]) - 1]


def find_images(
    place: Path,
    split: str,
    labels: Labels,
    each: Callable[[Callable[[Container], Members], Sequence[Container]], Iterable[Members]] = map,
) -> Images:
    """Returns the images of a split; all 1,000 synsets must have the official number of images.

    Args:
      place: the directory with the tar files or folders.
      split: train or validation.
      labels: the classes that are wanted; images of others are left out.
      each: map, or one that works in parallel.

    Raises:
      DataError: files or images are missing, damaged, truncated or too many.
    """
    containers = {"train": train_containers, "validation": validation_containers}[split](place, labels)
    number = {synset: label for label, synset in enumerate(labels.synsets)}
    found: list[tuple[str, int, int, int, int]] = []
    for which, (container, inside) in enumerate(zip(containers, each(members, containers), strict=True)):
        for name, offset, size in inside:
            label = number.get(synset_of(container, name, labels))
            if label is not None:
                found.append((name, which, offset, size, label))
    found.sort(key=lambda entry: hashlib.sha256(entry[0].encode()).digest())
    names = [entry[0] for entry in found]
    numbers = np.array([entry[1:] for entry in found], np.int64).reshape(-1, 4)
    check_counts(place, split, names, np.bincount(numbers[:, 3], minlength=len(labels.synsets)), labels)
    return Images(
        containers,
        numbers[:, 0].astype(np.int32),
        numbers[:, 1],
        numbers[:, 2],
        np.array(names),
        numbers[:, 3].astype(np.int32),
    )


def check_counts(place: Path, split: str, names: Sequence[str], counts: np.ndarray, labels: Labels) -> None:
    """Checks the number of images of a split; the official number is known for all 1,000 synsets only.

    Raises:
      DataError: it is wrong, a synset has none, or a name occurs twice.
    """
    if not counts.all():
        empty = labels.synsets[int(np.argmin(counts))]
        raise DataError(f"{place} has no {split} image of {empty}.")
    if len(labels.synsets) == len({*labels.validation}) and len(names) != OFFICIAL[split]:
        raise DataError(f"{place} has {len(names):,} {split} images, not {OFFICIAL[split]:,}.")
    if len({*names}) != len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise DataError(f"{place} has two {split} images named {twice}.")
