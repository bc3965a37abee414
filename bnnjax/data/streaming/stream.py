"""Training batches that worker processes decode and crop.

Grain starts the workers, puts their results in order and keeps some ready.  The contents of a batch are a
function of the seed, the step and the place in the batch (`order`): they do not depend on the number of
workers, processes and devices, and a run that resumes needs only its step.
"""

import gc
import multiprocessing
import os
import queue
import re
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from bnnjax.data.batches import steps_per_epoch
from bnnjax.data.dataset import DataError
from bnnjax.data.streaming.decode import UNIFORMS, random_crop
from bnnjax.data.streaming.lazy_array import make_of
from bnnjax.data.streaming.order import crop_uniforms, epoch_order
from bnnjax.data.streaming.records import CorruptError, Record, Records
from bnnjax.data.tfds import one_line

CHUNK = 32  # images that a worker makes at a time
READY = 2  # chunks that each worker keeps ready
MOST_SKIPPED = 100  # damaged images in a row
PATIENCE = 30.0  # seconds in which workers end by themselves
WORKER_NAME = "grain-process-prefetch"


class Batch(NamedTuple):
    """Rows of a global batch."""

    images: np.ndarray  # uint8 [rows, size, size, 3]
    labels: np.ndarray  # int32 [rows]
    skipped: int  # damaged images that others replace


@dataclass(frozen=True, kw_only=True)
class Stream:
    """The source of streamed training images.

    Args:
      records: of the split.
      places: of the training images among them, int32 [examples].
      size: of crops.
      workers: processes; 0: none, for finding errors.
      timeout: seconds without a batch after which the workers count as hanging.
      skip_corrupt: whether a damaged image is replaced by the next one; else it is a DataError.
    """

    records: Records
    places: np.ndarray
    size: int
    workers: int
    timeout: float = 300.0
    skip_corrupt: bool = False


@dataclass(frozen=True, kw_only=True)
class Rows:
    """This process's rows of consecutive batches, cut into chunks: a sequence that Grain distributes.

    Args:
      stream: the source.
      seed: of order and crops.
      batch_size: of the global batch.
      own: the places of this process's rows in each global batch, in order, int [rows].
      begin: the step of the run that the sequence begins with.
      steps: total number of steps.
    """

    stream: Stream
    seed: int
    batch_size: int
    own: np.ndarray
    begin: int
    steps: int
    _orders: dict[int, np.ndarray] = field(default_factory=dict, init=False, compare=False, repr=False)

    def after(self, done: int) -> "Rows":
        """Returns the rows that are left after `done` steps."""
        return replace(self, begin=self.begin + done, steps=self.steps - done)

    @property
    def chunks(self) -> int:
        """Chunks in a batch."""
        return -(-len(self.own) // CHUNK)

    def __len__(self) -> int:
        return self.steps * self.chunks

    def __getitem__(self, index: int) -> Batch:
        """Returns a chunk.

        Raises:
          CorruptError: an image is damaged, and it is not to be skipped.
        """
        step, chunk = divmod(index, self.chunks)
        epoch, step = divmod(self.begin + step, steps_per_epoch(len(self.stream.places), self.batch_size))
        if epoch not in self._orders:
            self._orders.clear()
            self._orders[epoch] = epoch_order(self.seed, epoch, len(self.stream.places))
        rows = self.own[chunk * CHUNK : (chunk + 1) * CHUNK].tolist()
        images = np.empty((len(rows), self.stream.size, self.stream.size, 3), np.uint8)
        labels = np.empty(len(rows), np.int32)
        skipped = 0
        for at, row in enumerate(rows):
            place = int(self._orders[epoch][step * self.batch_size + row])
            uniforms = crop_uniforms(self.seed, epoch, step, row, UNIFORMS)
            images[at], labels[at], passed = self._crop(place, uniforms)
            skipped += passed
        return Batch(images, labels, skipped)

    def _crop(self, place: int, uniforms: Any) -> tuple[np.ndarray, int, int]:
        stream = self.stream

        def crop(record: Record) -> tuple[np.ndarray, int]:
            return random_crop(record.image, uniforms, stream.size), record.label

        for passed in range(MOST_SKIPPED):
            index = int(stream.places[(place + passed) % len(stream.places)])
            try:
                return *make_of(stream.records, index, crop), passed
            except CorruptError:
                if not stream.skip_corrupt:
                    raise
        raise DataError(f"{MOST_SKIPPED} images in a row after {stream.records.name(index)} are damaged.")


def begin_worker(number: int, workers: int) -> None:
    """Prepares a worker: ignores signals, ends with the process that started it, and uses one core."""
    import cv2

    cv2.setNumThreads(1)
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()


def chunks_of(rows: Rows) -> Iterator[Batch]:
    """Returns the chunks, made by Grain's workers."""
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():  # Grain looks at its own, which are not on our command line
        flags.FLAGS.mark_as_parsed()
    source = grain.MapDataset.source(rows)
    dataset = source.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
    if rows.stream.workers:
        options = grain.MultiprocessingOptions(rows.stream.workers, per_worker_buffer_size=READY)
        dataset = dataset.mp_prefetch(options, worker_init_fn=begin_worker)
    return iter(dataset)


def next_batch(rows: Rows, chunks: Iterator[Batch]) -> Batch:
    """Returns a batch, copied out of the memory shared with the workers so that they can reuse it."""
    count, size = len(rows.own), rows.stream.size
    images, labels = np.empty((count, size, size, 3), np.uint8), np.empty(count, np.int32)
    done = skipped = 0
    while done < count:
        chunk = next(chunks)
        own = slice(done, done + len(chunk.labels))
        images[own], labels[own] = chunk.images, chunk.labels
        done, skipped = own.stop, skipped + int(chunk.skipped)
        del chunk
    return Batch(images, labels, skipped)


def batches(rows: Rows) -> Generator[Batch]:
    """Yields the batches, with one kept ready; close the generator when no more are needed.

    Raises:
      DataError: an image is damaged (CorruptError), a worker died, or none came within the timeout.
    """
    ready: queue.Queue[Batch | DataError] = queue.Queue(2)
    stopped = threading.Event()
    chunks = chunks_of(rows)

    def put(item: Batch | DataError) -> None:
        while not stopped.is_set():
            with suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return

    def collect() -> None:
        try:
            for _ in range(rows.steps):
                put(next_batch(rows, chunks))
                if stopped.is_set():
                    return
        except DataError as error:
            put(type(error)(str(error)))
        except Exception as error:  # any type: errors of workers come out here
            put(DataError(f"a data worker {what_happened(error)}."))
        finally:
            close(chunks)  # in this thread: closing the iterator from another one never returns
            gc.collect()  # an error's frames hold arrays in shared memory, and are held by the error

    collector = threading.Thread(target=collect, daemon=True, name="batches")
    collector.start()
    try:
        for _ in range(rows.steps):
            try:
                batch = ready.get(timeout=rows.stream.timeout)
            except queue.Empty:
                kill_workers()
                raise DataError(
                    f"no batch came from the data workers for {rows.stream.timeout:g} s: one of them hangs, "
                    "or the disk does."
                ) from None
            if isinstance(batch, DataError):
                raise batch
            yield batch
    finally:
        stopped.set()
        collector.join(PATIENCE)
        if collector.is_alive():
            kill_workers()
            collector.join(PATIENCE)


def what_happened(error: Exception) -> str:
    """Returns what happened to a worker, in words, from the error that Grain raises."""
    died = re.search(r"terminated unexpectedly with exit code (-?\d+)", str(error))
    if died is None:
        return f"failed: {one_line(error)}"
    code = int(died[1])
    if code >= 0:
        return f"ended with exit code {code}"
    likely = {
        signal.SIGKILL: ", perhaps for lack of memory",
        signal.SIGBUS: ", perhaps for lack of space in /dev/shm",
    }
    return f"died of {signal.Signals(-code).name}{likely.get(signal.Signals(-code), '')}"


def close(chunks: Any) -> None:
    """Ends Grain's workers, ignoring errors that they raise."""
    with suppress(Exception):
        chunks.close()


def kill_workers() -> None:
    """Kills this process's workers, which no longer respond."""
    for child in multiprocessing.active_children():
        if child.name.startswith(WORKER_NAME):
            child.kill()
