"""Random access to the records of a prepared TFDS data set, without TensorFlow."""

import resource
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from bnnjax.data.dataset import DataError
from bnnjax.data.tfds import one_line

READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"  # for random access


class Record(NamedTuple):
    """An image as it is stored."""

    image: bytes
    label: int


class CorruptError(DataError):
    """A record cannot be read, or its image cannot be decoded."""


@dataclass(frozen=True)
class Records:
    """The records of a split; open files are not sent along when this is pickled to another process."""

    directory: Path
    shards: tuple[tuple[str, int], ...]  # name and number of records of each file
    classes: int
    _open: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_open": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def __len__(self) -> int:
        return sum(count for _, count in self.shards)

    def where(self, index: int) -> tuple[str, int]:
        """Returns the file of a record and its place in there."""
        ends = self._once("ends", lambda: list(accumulate(count for _, count in self.shards)))
        shard = bisect_right(ends, index)
        name, count = self.shards[shard]
        return name, index - (ends[shard] - count)

    def name(self, index: int) -> str:
        """Returns the name of a record in messages."""
        shard, place = self.where(index)
        return f"record {place} of {self.directory / shard}"

    def __getitem__(self, index: int) -> Record:
        """Returns a record.

        Raises:
          CorruptError: it is damaged.
        """
        shard, place = self.where(index)
        try:
            data = self._once(shard, lambda: open_shard(self.directory / shard)).read([place])[0]
            record = self._once("parser", make_parser).parse_example(data)
            found = Record(record["image"], int(record["label"]))
        # array_record raises RuntimeError, protobuf and TFDS have errors of their own; from a truncated file
        # array_record may return records without contents.
        except Exception as error:
            raise CorruptError(f"{self.name(index)} is damaged: {one_line(error)}") from error
        if not 0 <= found.label < self.classes:
            raise CorruptError(
                f"{self.name(index)} has the label {found.label}, which is none of {self.classes} classes."
            )
        return found

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._open:
            self._open[name] = make()
        return self._open[name]


def open_shard(path: Path) -> Any:
    """Returns the reader of a file; as many stay open as there are files."""
    from array_record.python import array_record_module

    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return array_record_module.ArrayRecordReader(str(path), READER_OPTIONS)


def make_parser() -> Any:
    """Returns the parser of TFDS's imagenet2012 examples; importing TFDS takes some tenths of a second."""
    from tensorflow_datasets.core import example_parser, features

    wanted = features.FeaturesDict({"image": features.Image(), "label": features.ClassLabel()})
    return example_parser.ExampleParserNp(wanted.get_serialized_info())


def open_records(builder: Any, split: str) -> Records:
    """Returns the records of a split of an opened data set.

    Raises:
      DataError: a file is missing, or the split is empty.
    """
    files = builder.info.splits[split].file_instructions
    shards = tuple((Path(file.filename).name, int(file.examples_in_shard)) for file in files)
    directory = Path(builder.data_dir)
    records = Records(directory, shards, builder.info.features["label"].num_classes)
    if missing := [name for name, _ in shards if not (directory / name).is_file()]:
        raise DataError(f"{directory} lacks {missing[0]}: prepare it again.")
    if not len(records):
        raise DataError(f"the split {split!r} in {directory} is empty.")
    return records
