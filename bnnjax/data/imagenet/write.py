"""Writes ImageNet as TFDS's `imagenet2012` in array_record files, without TensorFlow, in parallel.

A shard is written under a temporary name and renamed when it is complete, as is the directory of all shards,
so an interrupted preparation resumes where it stopped.  This module imports TFDS: import it inside functions.
"""

import hashlib
import io
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from PIL import Image

from bnnjax.data.dataset import DataError
from bnnjax.data.imagenet.sources import Images, Labels, find_images
from bnnjax.data.tfds import one_line
from bnnjax.runtime.files import remove_unfinished
from bnnjax.runtime.lock import hold

NAME, VERSION = "imagenet2012", "5.1.0"
SPLITS = ("train", "validation")
SHARD_IMAGES = 5000  # about 550 MB
WRITER_OPTIONS = "group_size:1,uncompressed"  # JPEGs do not become smaller

Progress = Callable[[int], None]  # called with the number of images that are done


class Shard(NamedTuple):
    """A shard to write."""

    path: Path
    images: Images  # its own


class ImageNet(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Describes the data set under TFDS's name and version, so that each reads what the other prepared."""

    name = NAME
    VERSION = tfds.core.Version(VERSION)

    def __init__(self, *, synsets: tuple[str, ...], data_dir: Path) -> None:
        self.synsets = synsets
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="ILSVRC 2012, prepared by bnnjax from its official files",
            features=features(self.synsets),
            supervised_keys=("image", "label"),
            homepage="https://image-net.org/",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        raise NotImplementedError("shards are written by `write_shard`")

    def _generate_examples(self) -> Iterator[Any]:
        raise NotImplementedError("shards are written by `write_shard`")


def features(synsets: tuple[str, ...]) -> tfds.features.FeaturesDict:
    """Returns the features of TFDS's own builder."""
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=list(synsets)),
            "file_name": tfds.features.Text(),
        }
    )


def as_jpeg(data: bytes) -> bytes:
    """Returns the image unchanged if it is a JPEG in RGB or grey, else as a JPEG in RGB.

    ImageNet has a PNG that is called JPEG and 22 JPEGs in CMYK, which TensorFlow would not decode.

    Raises:
      OSError: it is not an image.
    """
    with Image.open(io.BytesIO(data)) as image:
        if image.format == "JPEG" and image.mode in ("RGB", "L"):
            return data
        file = io.BytesIO()
        image.convert("RGB").save(file, "JPEG", quality=100, subsampling=0)
    return file.getvalue()


def write_shard(synsets: tuple[str, ...], shard: Shard) -> tuple[Path, int]:
    """Writes a shard whole or not at all; returns its path and its number of images.

    Raises:
      DataError: an image cannot be read, or the file not be written.
    """
    info = features(synsets)
    serializer = tfds.core.example_serializer.ExampleSerializer(info.get_serialized_info())
    # Workers of a killed process may still be writing the same shard.
    unfinished = shard.path.with_name(f".{shard.path.name}.{os.getpid()}.tmp")
    try:
        writer = array_record_module.ArrayRecordWriter(str(unfinished), WRITER_OPTIONS)
        for place, name in enumerate(shard.images.names):
            data = shard.images.read(place)
            try:
                image = as_jpeg(data)
            except OSError as error:
                raise DataError(f"{name} in {shard.images.path(place)} is not an image.") from error
            label = int(shard.images.labels[place])
            example = {"image": io.BytesIO(image), "label": label, "file_name": str(name)}
            record = serializer.get_tf_example(info.encode_example(example))
            writer.write(record.SerializeToString(deterministic=True))  # the same file from every process
        writer.close()
    except (OSError, RuntimeError) as error:
        raise DataError(f"cannot write {shard.path}: {one_line(error)}") from error
    if records_of(unfinished) != len(shard.images.names):
        raise DataError(f"{unfinished} was not written completely: is the disk full?")
    unfinished.replace(shard.path)
    return shard.path, len(shard.images.names)


def records_of(path: Path) -> int:
    """Returns how many records a file has, 0 where there is none or it is damaged."""
    try:
        reader = array_record_module.ArrayRecordReader(str(path))
        records = int(reader.num_records())
        reader.close()
    except RuntimeError:
        return 0
    return records


def plan_shards(directory: Path, split: str, images: Images) -> list[Shard]:
    """Returns the shards of a split, in order."""
    count = max(len(images.names) // SHARD_IMAGES, 1)
    bounds = np.linspace(0, len(images.names), count + 1).astype(int)
    shards = []
    for number, (first, end) in enumerate(pairwise(bounds)):
        name = f"{NAME}-{split}.array_record-{number:05d}-of-{count:05d}"
        own = Images(images.containers, *(part[first:end] for part in images[1:]))
        shards.append(Shard(directory / name, own))
    return shards


def digest_of_plan(splits: dict[str, Images]) -> str:
    """Returns the sha256 of the names, sizes and labels of all images in their order."""
    sha = hashlib.sha256()
    for split, images in splits.items():
        sha.update(f"{split} {len(images.names)} ".encode())
        for part in (images.names, images.sizes, images.labels):
            sha.update(part.tobytes())
    return sha.hexdigest()


def begin(directory: Path, plan: Path, splits: dict[str, Images]) -> None:
    """Makes the directory of an unfinished preparation, or resumes it.

    Args:
      directory: not there without its plan.
      plan: a file beside it, with the digest of what is being prepared.
      splits: what is to be prepared.

    Raises:
      DataError: something else is being prepared there, or the disk is too small.
    """
    digest = digest_of_plan(splits)
    if directory.exists():
        if not plan.exists() or plan.read_text() != digest:
            raise DataError(f"{directory} belongs to a preparation from other files: delete it and retry.")
        remove_unfinished(directory)
        return
    needed = 1.01 * sum(int(images.sizes.sum()) for images in splits.values()) / 1e9
    free = shutil.disk_usage(directory.parent).free / 1e9
    if free < needed:
        raise DataError(f"{directory.parent} has {free:.1f} GB free: {needed:.1f} GB are needed.")
    plan.write_text(digest)
    directory.mkdir()


def end_on_interrupt() -> None:
    """Makes Ctrl-C end this process at once and silently; its unfinished shard is written again."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def workers(jobs: int) -> Iterator[Executor]:
    """Gives a pool of `jobs` processes; at the end tasks that have not begun are dropped."""
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), end_on_interrupt)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise DataError("a process that was preparing data died: rerun the command to resume.") from error
    finally:
        pool.shutdown(cancel_futures=True)


def prepare_imagenet(
    place: Path, root: Path, labels: Labels, jobs: int, begins: Callable[[int], Progress]
) -> tuple[Path, dict[str, int]]:
    """Writes the data set unless it is complete; finished shards are kept.

    Args:
      place: of the official tar files, or of the folders train and val.
      root: the directory of all data sets.
      labels: the classes that are wanted.
      jobs: processes.
      begins: called with the number of images; returns what reports progress.

    Returns:
      The directory, and the number of images of each split.

    Raises:
      DataError: as `find_images`, `begin` and `write_shard`, or if another set is there.
      ValueError: another process is preparing it.
    """
    builder = ImageNet(synsets=labels.synsets, data_dir=root)
    directory = root / NAME / VERSION
    unfinished, plan = (directory.with_name(f"{VERSION}.{name}") for name in ("incomplete", "plan"))
    if directory.exists():
        raise DataError(f"{directory} is there already.")
    with hold(directory.parent, "data set", "wait until it has ended"), workers(jobs) as pool:
        splits = {split: find_images(place, split, labels, pool.map) for split in SPLITS}
        begin(unfinished, plan, splits)
        shards = {split: plan_shards(unfinished, split, images) for split, images in splits.items()}
        missing = [
            shard for own in shards.values() for shard in own
            if records_of(shard.path) != len(shard.images.names)
        ]  # fmt: skip
        counts = {split: len(images.names) for split, images in splits.items()}
        advance = begins(sum(counts.values()))
        advance(sum(counts.values()) - sum(len(shard.images.names) for shard in missing))
        for done in as_completed([pool.submit(partial(write_shard, labels.synsets), s) for s in missing]):
            advance(done.result()[1])
        remove_unfinished(unfinished)
        describe(builder, unfinished, splits, shards)
        unfinished.rename(directory)
        plan.unlink()
    return directory, counts


def describe(
    builder: ImageNet, directory: Path, splits: dict[str, Images], shards: dict[str, list[Shard]]
) -> None:
    """Writes TFDS's description of a directory whose shards are complete."""
    template = tfds.core.ShardedFileTemplate(
        dataset_name=NAME, data_dir=directory, filetype_suffix="array_record"
    )
    infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[len(shard.images.names) for shard in own],
            num_bytes=int(splits[split].sizes.sum()),
            filename_template=template.replace(split=split),
        )
        for split, own in shards.items()
    ]
    builder.info.set_splits(tfds.core.splits.SplitDict(infos))
    builder.info.write_to_directory(directory)
