"""A lazy array gives what an array of all its entries would give."""

import numpy as np
import pytest

from bnnjax.data.streaming.decode import centre_crop
from bnnjax.data.streaming.lazy_array import Stored, make_of, stored_images, stored_labels
from bnnjax.data.streaming.records import CorruptError, Record, Records

PLACES = np.array([3, 4, 5, 9, 100])


@pytest.fixture(scope="module")
def whole(train: Records) -> np.ndarray:
    return np.stack([centre_crop(train[place].image, 24) for place in PLACES])


@pytest.fixture
def images(train: Records) -> Stored:
    return stored_images(train, PLACES, 24, skip_corrupt=False)


@pytest.mark.parametrize(
    "which",
    [
        2,
        -1,
        np.int32(3),
        slice(None),
        slice(1, 4),
        slice(4, 1, -2),
        slice(3, 3),
        [4, 0, 4],
        np.array([[0, 1], [1, 2]]),
        np.array([True, False, False, True, False]),
        np.array([], np.int32),
    ],
)
def test_any_part_is_that_of_the_whole_array(images: Stored, whole: np.ndarray, which: object) -> None:
    part = images[which]
    assert part.dtype == np.uint8
    np.testing.assert_array_equal(part, whole[which])  # type: ignore[index]


def test_it_has_the_properties_of_an_array(images: Stored, whole: np.ndarray, train: Records) -> None:
    assert (images.shape, images.ndim, images.dtype, len(images)) == (whole.shape, 4, whole.dtype, 5)
    np.testing.assert_array_equal(np.asarray(images), whole)
    labels = stored_labels(train, PLACES, skip_corrupt=False)
    assert (labels.shape, labels.dtype) == ((5,), np.int32)
    assert labels[:].tolist() == [train[int(place)].label for place in PLACES]
    with pytest.raises(IndexError):
        images[5]


def test_damaged_ones_are_an_error_or_grey_and_counted(damaged: Records, whole: np.ndarray) -> None:
    with pytest.raises(CorruptError, match="record 5 of"):
        stored_images(damaged, PLACES, 24, skip_corrupt=False)[:]
    with pytest.raises(CorruptError, match="record 5 of"):
        stored_labels(damaged, PLACES, skip_corrupt=False)[2]
    images = stored_images(damaged, PLACES, 24, skip_corrupt=True)
    for _ in range(2):  # is counted once
        part = images[:]
        assert (part[2] == 128).all()
        np.testing.assert_array_equal(part[[0, 1, 3, 4]], whole[[0, 1, 3, 4]])
    assert images.skipped == {5}
    assert stored_labels(damaged, PLACES, skip_corrupt=True)[2] == 0


def test_an_image_that_cannot_be_decoded_is_damage_of_its_record(
    train: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = Record(train[7].image[:600], train[7].label)
    monkeypatch.setattr(Records, "__getitem__", lambda self, index: cut)
    (name, _) = train.shards[0]
    sentence = f"^record 7 of {train.directory / name} has an image that cannot be decoded: "
    for data in (cut.image, b"no image"):
        with pytest.raises(CorruptError, match=sentence):
            make_of(train, 7, lambda record, data=data: centre_crop(data, 8))  # type: ignore[misc]
