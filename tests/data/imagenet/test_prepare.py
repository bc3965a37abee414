"""Preparing ImageNet: what is written, that TFDS reads it, and that it resumes."""

import io
import shutil
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from imagenet_set import SYNSETS, TRAIN, VALIDATION, prepare
from PIL import Image
from processes import Run

from bnnjax.data import DataError
from bnnjax.data.imagenet import write
from bnnjax.data.imagenet.sources import TRAIN_TAR, VALIDATION_TAR, find_images, official_labels
from bnnjax.data.imagenet.write import prepare_imagenet
from bnnjax.data.streaming.records import open_records

LABELS = official_labels(SYNSETS)
COUNTS = {"train": len(SYNSETS) * TRAIN, "validation": len(SYNSETS) * VALIDATION}
NAME, PLAN = f"{write.NAME}/{write.VERSION}", f"{write.VERSION}.plan"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is done in this process."""

    @contextmanager
    def threads(jobs: int) -> Iterator[Executor]:
        with ThreadPoolExecutor(jobs) as pool:
            yield pool

    monkeypatch.setattr(write, "workers", threads)
    monkeypatch.setattr(write, "SHARD_IMAGES", 30)


class Told:
    """Keeps the progress that it is called with."""

    def __init__(self) -> None:
        self.total, self.steps = 0, list[int]()

    def __call__(self, total: int) -> object:
        self.total = total
        return self.steps.append


def test_tfds_reads_what_was_prepared(imagenet_tars: Path, imagenet_dir: Path) -> None:
    builder = tfds.builder_from_directory(imagenet_dir / NAME)
    assert (builder.name, str(builder.version)) == ("imagenet2012", "5.1.0")
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == COUNTS
    assert tuple(builder.info.features["label"].names) == SYNSETS
    for split in COUNTS:
        stored = find_images(imagenet_tars, split, LABELS)
        # The same order as in the index, which test_sources.py compares with the tar files.
        records = list(builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()}))
        assert [record["file_name"].decode() for record in records] == stored.names.tolist()
        assert [record["label"] for record in records] == stored.labels.tolist()
        for place, record in enumerate(records):
            name = str(stored.names[place])
            original = stored.read(place)
            if name in (f"{SYNSETS[0]}_1.JPEG", f"{SYNSETS[0]}_2.JPEG"):  # CMYK, PNG
                continue
            assert record["image"] == original, name
        source = builder.as_data_source(split)
        assert source[0]["image"].shape[-1] == 3


def test_two_preparations_are_the_same_to_the_byte(
    imagenet_tars: Path, imagenet_dir: Path, tmp_path: Path
) -> None:
    """By other processes, in each of which protobuf has an order of its own for what has none."""
    directory, _ = prepare_imagenet(imagenet_tars, tmp_path, LABELS, 1, Told())
    files = {path.name: path.read_bytes() for path in (imagenet_dir / NAME).iterdir()}
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == files


def test_images_that_are_no_rgb_jpeg_become_one(imagenet_tars: Path, imagenet_dir: Path) -> None:
    stored = find_images(imagenet_tars, "train", LABELS)
    builder = tfds.builder_from_directory(imagenet_dir / NAME)
    source = builder.as_data_source("train", decoders={"image": tfds.decode.SkipDecoding()})
    modes = {}
    for number in (1, 2, 3):
        place = stored.names.tolist().index(f"{SYNSETS[0]}_{number}.JPEG")
        with (
            Image.open(io.BytesIO(stored.read(place))) as before,
            Image.open(io.BytesIO(source[place]["image"])) as after,
        ):
            modes[number] = (before.format, before.mode, after.format, after.mode)
            wanted = np.asarray(before.convert("RGB"), np.int32)
            assert np.abs(np.asarray(after.convert("RGB"), np.int32) - wanted).mean() < 1.5
    assert modes == {
        1: ("JPEG", "CMYK", "JPEG", "RGB"),
        2: ("PNG", "RGB", "JPEG", "RGB"),
        3: ("JPEG", "L", "JPEG", "L"),
    }


@pytest.mark.usefixtures("here")
def test_shards_that_are_whole_are_kept_and_others_written(imagenet_tars: Path, tmp_path: Path) -> None:
    whole, told = tmp_path / "whole", Told()
    directory, counts = prepare_imagenet(imagenet_tars, whole, LABELS, 3, told)
    assert (directory, counts) == (whole / NAME, COUNTS)
    assert (told.total, sum(told.steps)) == (140, 140)
    shards = sorted(path.name for path in directory.glob("*array_record*"))
    assert shards == [f"imagenet2012-train.array_record-{i:05d}-of-00004" for i in range(4)] + [
        "imagenet2012-validation.array_record-00000-of-00001"
    ]
    builder = tfds.builder_from_directory(directory)
    stored = find_images(imagenet_tars, "train", LABELS)
    theirs, ours = builder.as_data_source("train"), open_records(builder, "train")
    assert [record["file_name"].decode() for record in theirs] == stored.names.tolist()
    assert [ours[place].label for place in range(len(ours))] == stored.labels.tolist()
    # As it is left by a process that was killed: one shard whole, one cut off, one under its other name.
    place = tmp_path / "again" / f"{NAME}.incomplete"
    splits = {split: find_images(imagenet_tars, split, LABELS) for split in COUNTS}
    place.parent.mkdir(parents=True)
    write.begin(place, place.with_name(PLAN), splits)
    shutil.copy(directory / shards[0], place)
    (place / shards[1]).write_bytes((directory / shards[1]).read_bytes()[:5000])
    (place / f".{shards[2]}.7.tmp").write_bytes(b"begun")
    written = (place / shards[0]).stat().st_mtime_ns
    again, told = tmp_path / "again", Told()
    assert prepare_imagenet(imagenet_tars, again, LABELS, 2, told) == (again / NAME, COUNTS)
    assert told.steps[0] == 30
    assert sum(told.steps) == 140
    assert (again / NAME / shards[0]).stat().st_mtime_ns == written
    files = {path.name: path.read_bytes() for path in (again / NAME).iterdir()}
    assert files == {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.usefixtures("here")
def test_another_preparation_is_not_mixed_in(imagenet_tars: Path, tmp_path: Path) -> None:
    few = official_labels(SYNSETS[:2])
    place = tmp_path / f"{NAME}.incomplete"
    place.parent.mkdir(parents=True)
    plan = place.with_name(PLAN)
    write.begin(place, plan, {split: find_images(imagenet_tars, split, few) for split in COUNTS})
    with pytest.raises(DataError, match="belongs to a preparation from other files: delete it and retry"):
        prepare_imagenet(imagenet_tars, tmp_path, LABELS, 1, Told())


@pytest.mark.usefixtures("here")
def test_one_process_at_a_time_prepares(imagenet_tars: Path, tmp_path: Path) -> None:
    def second_begins(images: int) -> object:
        with pytest.raises(ValueError, match=f"^data set {tmp_path / write.NAME} is in use by process "):
            prepare_imagenet(imagenet_tars, tmp_path, LABELS, 1, Told())
        return Told()(images)

    assert prepare_imagenet(imagenet_tars, tmp_path, LABELS, 1, second_begins) == (tmp_path / NAME, COUNTS)


@pytest.mark.usefixtures("here")
def test_what_was_killed_before_its_plan_was_whole_begins_again(imagenet_tars: Path, tmp_path: Path) -> None:
    plan = tmp_path / write.NAME / PLAN
    plan.parent.mkdir()
    plan.write_text("0123")
    assert prepare_imagenet(imagenet_tars, tmp_path, LABELS, 1, Told()) == (tmp_path / NAME, COUNTS)
    assert [path.name for path in (tmp_path / write.NAME).iterdir()] == [write.VERSION]


@pytest.mark.usefixtures("here")
def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    for split, folder in (("train", SYNSETS[0]), ("val", "")):
        (tmp_path / split / folder).mkdir(parents=True)
        number = LABELS.validation.index(SYNSETS[0]) + 1
        (tmp_path / split / folder / f"ILSVRC2012_val_{number:08d}.JPEG").write_bytes(b"none")
    with pytest.raises(DataError, match=rf"ILSVRC2012_val_\d+.JPEG in {tmp_path}/train/n\S+ is not an image"):
        prepare_imagenet(tmp_path, tmp_path / "data", official_labels(SYNSETS[:1]), 1, Told())


@pytest.mark.usefixtures("here")
def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(
    imagenet_tars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    with pytest.raises(DataError, match=r"has 0\.0 GB free: 0\.0 GB are needed"):
        prepare_imagenet(imagenet_tars, tmp_path, LABELS, 1, Told())
    assert not (tmp_path / write.NAME).exists()


def test_the_command_says_in_one_sentence_what_is_wrong(
    imagenet_tars: Path, imagenet_dir: Path, run: Run, tmp_path: Path
) -> None:
    synsets = ("--synsets", imagenet_tars / "synsets.txt")
    for source, root, more, sentence in (
        (imagenet_tars, imagenet_dir, synsets, f"{imagenet_dir / NAME} is there already."),
        (tmp_path, tmp_path, (), f"{tmp_path} holds neither {TRAIN_TAR} nor a folder train."),
        (imagenet_tars, tmp_path, ("--jobs", 0), "--jobs is 0: allowed is 1 or more"),
    ):
        done = prepare(run, source, root, *more)
        assert (done.returncode, done.stderr) == (2, f"bnnjax prepare imagenet2012: {sentence}\n")
    assert VALIDATION_TAR not in done.stdout
