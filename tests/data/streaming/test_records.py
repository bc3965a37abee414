"""Records by index, in this process and in another, and errors on damaged ones."""

import dataclasses
import pickle
from pathlib import Path

import pytest
import tensorflow_datasets as tfds
from imagenet_set import SYNSETS, TRAIN

from bnnjax.data import DataError
from bnnjax.data.streaming.records import CorruptError, Records, open_records
from bnnjax.data.tfds import open_prepared


def test_records_are_those_that_tfds_reads(train: Records) -> None:
    builder = tfds.builder_from_directory(train.directory)
    source = builder.as_data_source("train", decoders={"image": tfds.decode.SkipDecoding()})
    assert len(train) == len(source) == len(SYNSETS) * TRAIN
    for place in (7, 0, 119, 42):
        assert train[place] == (source[place]["image"], source[place]["label"])


def test_places_are_counted_over_shards() -> None:
    records = Records(Path("/data"), (("a", 3), ("b", 0), ("c", 2)), 10)
    assert len(records) == 5
    assert [records.where(index) for index in range(5)] == [("a", 0), ("a", 1), ("a", 2), ("c", 0), ("c", 1)]
    assert records.name(4) == "record 1 of /data/c"


def test_another_process_opens_the_files_itself(train: Records) -> None:
    first = train[3]
    other = pickle.loads(pickle.dumps(train))
    assert other == train
    assert other[3] == first


def test_a_flipped_bit_is_found_and_named_and_its_neighbours_are_read(
    damaged: Records, train: Records
) -> None:
    (name, _) = damaged.shards[0]
    with pytest.raises(
        CorruptError, match=rf"^record 5 of {damaged.directory / name} is damaged: "
    ) as raised:
        damaged[5]
    assert "\n" not in str(raised.value)
    assert [damaged[place] for place in (4, 6, 0)] == [train[place] for place in (4, 6, 0)]


def test_a_label_that_is_no_class_is_damage(train: Records) -> None:
    few = dataclasses.replace(train, classes=2)
    label = {train[place].label: place for place in range(len(train))}
    assert few[label[1]].label == 1
    with pytest.raises(CorruptError, match="has the label 3, which is none of 2 classes"):
        few[label[3]]


def test_a_shard_that_is_cut_off_or_missing_is_named(damaged: Records) -> None:
    path = damaged.directory / damaged.shards[0][0]
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(CorruptError, match=f"record 0 of {path} is damaged"):
        damaged[0]
    path.unlink()
    builder = open_prepared(damaged.directory, ("train", "validation"))
    with pytest.raises(DataError, match=f"{damaged.directory} lacks {path.name}"):
        open_records(builder, "train")
