"""Batches are functions of seed, step and place, for any workers; dead and hanging ones are noticed."""

import dataclasses
import multiprocessing
import os
import signal
import threading
from contextlib import closing

import numpy as np
import pytest

from bnnjax.data import DataError
from bnnjax.data.streaming import stream as streaming
from bnnjax.data.streaming.decode import UNIFORMS, random_crop
from bnnjax.data.streaming.order import crop_uniforms, epoch_order
from bnnjax.data.streaming.records import CorruptError, Records
from bnnjax.data.streaming.stream import Batch, Rows, Stream, batches

EXAMPLES, BATCH, STEPS = 100, 40, 2  # of an epoch


def rows_of(records: Records, **fields: object) -> Rows:
    stream = Stream(records=records, places=np.arange(EXAMPLES, dtype=np.int32), size=16, workers=0)
    own = {
        name: fields.pop(name) for name in ("workers", "timeout", "skip_corrupt", "places") if name in fields
    }
    plain = {"seed": 0, "batch_size": BATCH, "own": np.arange(BATCH), "begin": 0, "steps": 2 * STEPS}
    return Rows(stream=dataclasses.replace(stream, **own), **(plain | fields))  # type: ignore[arg-type]


def taken(rows: Rows) -> list[Batch]:
    with closing(batches(rows)) as coming:
        return list(coming)


def assert_same(left: list[Batch], right: list[Batch]) -> None:
    assert len(left) == len(right)
    for ours, theirs in zip(left, right, strict=True):
        np.testing.assert_array_equal(ours.images, theirs.images)
        np.testing.assert_array_equal(ours.labels, theirs.labels)


@pytest.fixture(scope="module")
def whole(train: Records) -> list[Batch]:
    """Two epochs, in this process."""
    return taken(rows_of(train))


def test_an_image_is_the_crop_of_its_seed_epoch_step_and_place(train: Records, whole: list[Batch]) -> None:
    assert len(whole) == 4
    for number, batch in enumerate(whole):
        epoch, step = divmod(number, STEPS)
        assert batch.images.shape == (BATCH, 16, 16, 3)
        assert batch.skipped == 0
        for place in (0, 31, 32, BATCH - 1):  # at the ends of chunks
            record = train[int(epoch_order(0, epoch, EXAMPLES)[step * BATCH + place])]
            crop = random_crop(record.image, crop_uniforms(0, epoch, step, place, UNIFORMS), 16)
            np.testing.assert_array_equal(batch.images[place], crop)
            assert batch.labels[place] == record.label


def test_no_image_comes_twice_in_an_epoch() -> None:
    order = epoch_order(0, 1, EXAMPLES)[: STEPS * BATCH]
    assert len(set(order.tolist())) == STEPS * BATCH


def test_processes_share_each_batch(train: Records, whole: list[Batch]) -> None:
    shares = [taken(rows_of(train, own=np.arange(first, first + 10))) for first in range(0, BATCH, 10)]
    joined = [
        Batch(np.concatenate([b.images for b in parts]), np.concatenate([b.labels for b in parts]), 0)
        for parts in zip(*shares, strict=True)
    ]
    assert_same(joined, whole)


def test_rows_come_in_the_order_that_is_asked_for(train: Records, whole: list[Batch]) -> None:
    own = np.array([30, 2, 39, 3])
    for ours, theirs in zip(taken(rows_of(train, own=own)), whole, strict=True):
        np.testing.assert_array_equal(ours.images, theirs.images[own])
        np.testing.assert_array_equal(ours.labels, theirs.labels[own])


@pytest.mark.parametrize("done", [1, 2, 3, 4])
def test_a_stream_goes_on_in_the_middle_of_an_epoch(train: Records, whole: list[Batch], done: int) -> None:
    assert_same(taken(rows_of(train).after(done)), whole[done:])


def test_another_seed_gives_other_batches(train: Records, whole: list[Batch]) -> None:
    other = taken(rows_of(train, seed=1, steps=1))
    assert np.mean(other[0].labels == whole[0].labels) < 0.6


def test_training_images_are_those_of_the_places_alone(train: Records) -> None:
    places = np.array([5, 50, 77, 111], np.int32)
    (batch,) = taken(rows_of(train, places=places, batch_size=4, own=np.arange(4), steps=1))
    assert sorted(batch.labels.tolist()) == sorted(train[int(place)].label for place in places)


def test_a_damaged_image_ends_the_stream_or_the_next_one_takes_its_place(
    damaged: Records, whole: list[Batch]
) -> None:
    with pytest.raises(CorruptError, match="record 5 of"):
        taken(rows_of(damaged))
    found = taken(rows_of(damaged, skip_corrupt=True))
    places = [divmod(epoch_order(0, epoch, EXAMPLES).tolist().index(5), BATCH) for epoch in (0, 1)]
    assert [batch.skipped for batch in found] == [
        int(places[epoch][0] == step) for epoch in (0, 1) for step in range(STEPS)
    ]
    for epoch, (step, place) in enumerate(places):
        if step < STEPS:
            uniforms = crop_uniforms(0, epoch, step, place, UNIFORMS)
            instead = damaged[6]
            batch, before = found[epoch * STEPS + step], whole[epoch * STEPS + step]
            np.testing.assert_array_equal(batch.images[place], random_crop(instead.image, uniforms, 16))
            assert batch.labels[place] == instead.label
            others = np.arange(BATCH) != place
            np.testing.assert_array_equal(batch.images[others], before.images[others])


def test_a_stream_of_nothing_but_damage_is_given_up(damaged: Records) -> None:
    path = damaged.directory / damaged.shards[0][0]
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"100 images in a row after record .* are damaged"):
        taken(rows_of(damaged, skip_corrupt=True))


def workers() -> list[int]:
    children = multiprocessing.active_children()
    return [child.pid or 0 for child in children if child.name.startswith(streaming.WORKER_NAME)]


def test_workers_make_the_same_batches_and_go_when_the_stream_is_closed(
    train: Records, whole: list[Batch]
) -> None:
    with closing(batches(rows_of(train, workers=2))) as coming:
        found = [next(coming) for _ in range(3)]
        assert len(workers()) == 2
    assert_same(found, whole[:3])
    assert workers() == []
    assert [thread for thread in threading.enumerate() if thread.name == "batches"] == []


def test_a_worker_that_hangs_or_dies_is_a_sentence(train: Records) -> None:
    for number, timeout, sentence in (
        (signal.SIGKILL, 300.0, "a data worker died of SIGKILL, perhaps for lack of memory"),
        (signal.SIGSTOP, 3.0, "no batch came from the data workers for 3 s: one of them hangs"),
    ):
        rows = rows_of(train, workers=1, steps=1000)
        with closing(batches(rows)) as coming:
            next(coming)
            object.__setattr__(rows.stream, "timeout", timeout)  # starting takes longer
            (worker,) = workers()
            os.kill(worker, number)
            with pytest.raises(DataError, match=sentence):
                for _ in coming:
                    pass
        assert workers() == []


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            RuntimeError("Worker process was terminated unexpectedly with exit code -7. Search"),
            "died of SIGBUS",
        ),
        (
            RuntimeError("Worker process was terminated unexpectedly with exit code 3. Search"),
            "ended with exit code 3",
        ),
        (ValueError("first line\nsecond"), "failed: first line"),
    ],
)
def test_what_became_of_a_worker_is_told_in_words(error: Exception, sentence: str) -> None:
    told = streaming.what_happened(error)
    assert told.startswith(sentence)
    assert "\n" not in told
