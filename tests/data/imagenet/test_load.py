"""ImageNet as a data set: which images are in which split, and what its digest covers."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from imagenet_set import SYNSETS, TRAIN, VALIDATION

from bnnjax.data import Augmentation, DataError, load_imagenet
from bnnjax.data.imagenet.load import digest_of_files, found_damaged, held_out
from bnnjax.data.streaming.decode import centre_crop
from bnnjax.data.streaming.lazy_array import Stored

NAME = "imagenet2012/5.1.0"


@pytest.fixture
def copied(imagenet_dir: Path, tmp_path: Path) -> Path:
    """A copy of the data directory, to be changed."""
    shutil.copytree(imagenet_dir / NAME, tmp_path / NAME)
    return tmp_path


def test_splits_share_out_the_images_of_train_and_the_test_is_validation(imagenet_dir: Path) -> None:
    dataset = load_imagenet(imagenet_dir, size=24, validation_examples=20)
    assert dataset.class_names == SYNSETS
    assert dataset.augmentation == Augmentation(flip=True)
    assert [len(split.images) for split in (dataset.train, dataset.validation, dataset.test)] == [100, 20, 20]
    builder = tfds.builder_from_directory(imagenet_dir / NAME)
    skip = {"image": tfds.decode.SkipDecoding()}
    stored = {split: builder.as_data_source(split, decoders=skip) for split in ("train", "validation")}
    places = [3 + 6 * k for k in range(20)]  # the middle of each sixth image
    rest = [place for place in range(120) if place not in places]
    for split, source, own in (
        (dataset.validation, stored["train"], places),
        (dataset.train, stored["train"], rest),
        (dataset.test, stored["validation"], list(range(20))),
    ):
        assert np.asarray(split.labels).tolist() == [source[place]["label"] for place in own]
        np.testing.assert_array_equal(split.images[7], centre_crop(source[own[7]]["image"], 24))
    assert dataset.stream.places.tolist() == rest
    assert np.bincount(dataset.test.labels).tolist() == [VALIDATION] * len(SYNSETS)


@pytest.mark.parametrize(("examples", "wanted"), [(10, 1), (10, 9), (1000, 37), (1_281_167, 10_000)])
def test_held_out_places_are_evenly_spaced(examples: int, wanted: int) -> None:
    marked = held_out(examples, wanted)
    places = np.flatnonzero(marked)
    assert len(places) == wanted
    gaps = np.diff(places)
    assert wanted == 1 or gaps.max() - gaps.min() <= 1
    assert abs(int(places[0]) - (examples - 1 - int(places[-1]))) <= 1


@pytest.mark.parametrize("wanted", [0, 120, -1])
def test_a_number_of_held_out_images_that_leaves_none_is_refused(wanted: int) -> None:
    with pytest.raises(DataError, match=rf"cannot hold out {wanted} of 120 images: allowed is 1 to 119"):
        held_out(120, wanted)


def test_a_tenth_is_held_out_of_few_images_and_fewer_can_be_trained_on(imagenet_dir: Path) -> None:
    dataset = load_imagenet(imagenet_dir, size=24)
    assert len(dataset.validation.labels) == len(SYNSETS) * TRAIN // 10
    few = load_imagenet(imagenet_dir, size=24, train_examples=30)
    np.testing.assert_array_equal(few.stream.places, dataset.stream.places[:30])
    assert len(few.train.images) == 30


def test_the_digest_covers_files_and_choices(imagenet_dir: Path, copied: Path) -> None:
    digests = {
        load_imagenet(imagenet_dir, size=24).digest,
        load_imagenet(imagenet_dir, size=32).digest,
        load_imagenet(imagenet_dir, size=24, train_examples=30).digest,
        load_imagenet(imagenet_dir, size=24, validation_examples=13).digest,
    }
    assert len(digests) == 4
    assert load_imagenet(copied, size=24).digest in digests  # wherever it lies
    before = digest_of_files(copied / NAME)
    (shard,) = (copied / NAME).glob("*-train.*")
    data = bytearray(shard.read_bytes())
    data[-1000] ^= 1
    shard.write_bytes(data)
    assert digest_of_files(copied / NAME) != before
    shard.write_bytes(data[:-1])
    (copied / NAME / "features.json").write_text("{}")
    assert digest_of_files(copied / NAME) != before


def test_labels_are_read_once(imagenet_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = load_imagenet(imagenet_dir, size=24)
    assert len(list(tmp_path.rglob("*.npy"))) == 2

    def unreadable(*arguments: object, **more: object) -> None:
        raise AssertionError("labels are read again")

    monkeypatch.setattr(Stored, "__array__", unreadable)
    again = load_imagenet(imagenet_dir, size=24)
    for split in ("validation", "test"):
        np.testing.assert_array_equal(getattr(again, split).labels, getattr(first, split).labels)
    # A damaged cache is made again.
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for path in tmp_path.rglob("*.npy"):
        path.write_bytes(path.read_bytes()[:50])
    np.testing.assert_array_equal(load_imagenet(imagenet_dir, size=24).test.labels, first.test.labels)


def test_damaged_test_images_are_counted(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(copied / "cache"))  # the digest does not cover the damage
    (shard,) = (copied / NAME).glob("*-validation.*")
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 1
    shard.write_bytes(data)
    with pytest.raises(DataError, match=rf"record \d+ of {shard} is damaged"):
        load_imagenet(copied, size=24)
    dataset = load_imagenet(copied, size=24, skip_corrupt=True)
    images = np.asarray(dataset.test.images)
    assert int((images == 128).all(axis=(1, 2, 3)).sum()) == 1
    assert found_damaged(dataset).sum() == 1


def test_what_is_not_prepared_or_incomplete_is_refused(copied: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="bnnjax prepare imagenet2012 --from DIR"):
        load_imagenet(tmp_path / "empty")
    with pytest.raises(DataError, match="cannot train on 0 images: allowed is 1 to 108"):
        load_imagenet(copied, train_examples=0)
    (shard,) = (copied / NAME).glob("*-validation.*")
    shard.unlink()
    with pytest.raises(DataError, match=f"lacks {shard.name}: prepare it again"):
        load_imagenet(copied)
