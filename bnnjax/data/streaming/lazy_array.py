"""Lazy arrays of images or labels, which are read while they are used."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from bnnjax.data.streaming.decode import centre_crop
from bnnjax.data.streaming.records import CorruptError, Record, Records
from bnnjax.data.tfds import one_line

T = TypeVar("T")

GREY = 128
THREADS = os.cpu_count() or 1  # Pillow works outside of Python's lock


@dataclass(frozen=True)
class Stored:
    """A lazy array [n, ...] with one entry per record; entries are read when they are indexed.

    Args:
      records: of the split.
      places: of the n records among them, int [n].
      make: record -> entry.
      instead: the entry of a damaged record, if these are skipped; every entry has its shape and type.
      skip_corrupt: whether damaged records are skipped; else one is a CorruptError.
    """

    records: Records
    places: np.ndarray
    make: Callable[[Record], np.ndarray]
    instead: np.ndarray
    skip_corrupt: bool = False
    skipped: set[int] = field(default_factory=set)  # places of the damaged records found so far

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.places), *self.instead.shape)

    @property
    def dtype(self) -> np.dtype:
        return self.instead.dtype

    @property
    def ndim(self) -> int:
        return 1 + self.instead.ndim

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, which: Any) -> np.ndarray:
        wanted = self.places[which]
        different, back = np.unique(wanted, return_inverse=True)
        with ThreadPoolExecutor(THREADS) as pool:
            made = list(pool.map(self._one, different.tolist()))
        array = np.stack(made) if made else np.empty((0, *self.instead.shape), self.dtype)
        return array[back.reshape(np.shape(wanted))]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def _one(self, place: int) -> np.ndarray:
        try:
            return make_of(self.records, place, self.make)
        except CorruptError:
            if not self.skip_corrupt:
                raise
            self.skipped.add(place)
            return self.instead


def make_of(records: Records, index: int, make: Callable[[Record], T]) -> T:
    """Returns make(record).

    Raises:
      CorruptError: the record cannot be read, or its image cannot be decoded.
    """
    record = records[index]
    try:
        return make(record)
    except Exception as error:  # any type: Pillow has a family of its own
        sentence = f"{records.name(index)} has an image that cannot be decoded: {one_line(error)}"
        raise CorruptError(sentence) from error


def stored_images(records: Records, places: np.ndarray, size: int, *, skip_corrupt: bool) -> Stored:
    """Returns centre crops of images, as for a test, uint8 [n, size, size, 3]; damaged images are grey."""
    grey = np.full((size, size, 3), GREY, np.uint8)
    return Stored(records, places, lambda record: centre_crop(record.image, size), grey, skip_corrupt)


def stored_labels(records: Records, places: np.ndarray, *, skip_corrupt: bool) -> Stored:
    """Returns labels, int32 [n]; of damaged records 0."""
    zero = np.zeros((), np.int32)
    return Stored(records, places, lambda record: np.array(record.label, np.int32), zero, skip_corrupt)
