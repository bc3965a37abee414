"""`bnnjax prepare folder` as a user calls it, and what `bnnjax train` then finds."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from processes import Run

import bnnjax
from bnnjax.cli.prepare_folder import FOLDER
from bnnjax.config.training import Config
from bnnjax.data.load import load
from bnnjax.data.tfds_set import load_prepared

COMMAND = ("-W", "error", "-m", "bnnjax", "prepare", "folder")
COLOURS = {"blue": (20, 30, 220), "green": (30, 210, 40), "red": (230, 20, 30)}
EACH = 10

Ended = tuple[object, str, str]


def paint(place: Path, count: int = EACH) -> None:
    """Makes a folder of pictures of one colour each, of many sizes and formats, for each class."""
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (place / name).mkdir(parents=True)
        for number in range(count):
            height, width = rng.integers(20, 60, 2)
            pixels = np.clip(rng.normal(colour, 9, (height, width, 3)), 0, 255).astype(np.uint8)
            suffix = ("jpg", "png", "bmp")[number % 3]
            Image.fromarray(pixels).save(place / name / f"{number}.{suffix}")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def prepare(data: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """prepare(source, *more): the exit code of the command in this process, its stdout and stderr."""

    def ends(source: Path, *more: object) -> Ended:
        words = ("--from", source, "--name", "colours", "--data-dir", data, *more)
        with pytest.raises(SystemExit) as stop:
            FOLDER.run("bnnjax prepare folder", list(map(str, words)))
        return (stop.value.code, *capfd.readouterr())

    return ends


def looks_right(images: np.ndarray, labels: np.ndarray) -> bool:
    """Whether each image has the colour that its class is named after."""
    means = images.reshape(len(images), -1, 3).mean(axis=1)
    return bool((means.argmax(axis=1) == 2 - labels).all())  # blue is class 0 and channel 2


def test_pictures_in_folders_become_a_data_set(
    run: Run, prepare: Callable[..., Ended], data: Path, tmp_path: Path
) -> None:
    paint(tmp_path / "pictures")
    words = ("--from", tmp_path / "pictures", "--name", "colours", "--data-dir", data, "--size", 16)
    done = run(*COMMAND, *words)
    assert (done.returncode, done.stderr) == (0, "")
    *_, told, then = done.stdout.splitlines()
    assert told == "prepared images of 16x16x3 in 3 classes: 24 train, 6 test"
    command = f"bnnjax train colours --data-dir {data}"
    assert then == f"train on them by {command}, perhaps with --geometry crop+flip"
    dataset = load(Config(dataset="colours", data_dir=data))
    assert dataset.class_names == tuple(COLOURS)
    sizes = [len(split.labels) for split in (dataset.train, dataset.validation, dataset.test)]
    assert sizes == [22, 2, 6]
    assert dataset.image_shape == (16, 16, 3)
    for split in (dataset.train, dataset.validation, dataset.test):
        assert looks_right(*split)
    # TFDS reads it without us.
    theirs = tfds.builder_from_directory(data / "colours" / "1.0.0").as_data_source("test")
    np.testing.assert_array_equal(np.stack([each["image"] for each in theirs]), dataset.test.images)
    sentence = f"{data / 'colours'} is there already; delete it or choose another --name"
    assert prepare(tmp_path / "pictures") == (2, "", f"bnnjax prepare folder: {sentence}\n")


def test_damaged_files_are_listed_and_left_out_if_that_is_wanted(
    prepare: Callable[..., Ended], data: Path, tmp_path: Path
) -> None:
    paint(tmp_path / "pictures")
    damaged = [tmp_path / "pictures" / "red" / "0.jpg", tmp_path / "pictures" / "blue" / "1.png"]
    for path in damaged:
        path.write_bytes(path.read_bytes()[:200])
    code, listed, errors = prepare(tmp_path / "pictures")
    sentence = (
        "2 of 30 files cannot be read, as listed; mend or remove them, or leave them out by --skip-corrupt"
    )
    assert (code, errors) == (2, f"bnnjax prepare folder: {sentence}\n")
    assert list(data.iterdir()) == []
    code, output, errors = prepare(tmp_path / "pictures", "--skip-corrupt")
    assert (code, errors) == (0, "")
    for text in (listed, output):
        assert all(f"{path} cannot be read: " in text for path in damaged)
    assert "22 train, 6 test, 2 files left out" in output


def test_a_list_with_splits_gives_these(prepare: Callable[..., Ended], data: Path, tmp_path: Path) -> None:
    paint(tmp_path / "pictures", 6)
    with open(tmp_path / "list.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label", "split"))
        for name in COLOURS:
            for place, path in enumerate(sorted((tmp_path / "pictures" / name).iterdir())):
                split = ("train", "train", "train", "val", "test", "test")[place]
                rows.writerow((path.relative_to(tmp_path), name, split))
    (data / "colours" / "1.0.0.incompleteX").mkdir(parents=True)  # as a killed preparation leaves it
    code, output, errors = prepare(tmp_path / "list.csv")
    assert (code, errors) == (0, "")
    assert "prepared images of 32x32x3 in 3 classes: 9 train, 3 validation, 6 test\n" in output
    dataset = load_prepared("colours", data)
    sizes = [len(split.labels) for split in (dataset.train, dataset.validation, dataset.test)]
    assert sizes == [9, 3, 6]
    assert all(looks_right(*split) for split in (dataset.train, dataset.validation, dataset.test))
    assert np.bincount(dataset.validation.labels).tolist() == [1, 1, 1]
    few = load_prepared("colours", data, validation_examples=2, train_examples=4)
    assert (len(few.validation.labels), len(few.train.labels)) == (2, 4)
    assert load_prepared("colours", data).digest == dataset.digest  # from the cache


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_network_learns_what_was_prepared(
    run: Run, prepare: Callable[..., Ended], data: Path, tmp_path: Path
) -> None:
    paint(tmp_path / "pictures", 20)
    assert prepare(tmp_path / "pictures", "--size", 16)[0] == 0
    flags = ("--model", "resnet_tiny", "--epochs", 8, "--batch-size", 8, "--noise", "none")
    place = tmp_path / "run"
    words = ("-m", "bnnjax", "train", "colours", "--data-dir", data, "--workdir", place)
    done = run(*words, *flags, limit=200)  # all plots are drawn
    assert (done.returncode, done.stderr) == (0, "")
    shutil.rmtree(data)
    # Other tests of this folder are stricter than networks are.
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        network = bnnjax.load(place)
        for name in COLOURS:
            with Image.open(tmp_path / "pictures" / name / "1.png") as picture:
                pixels = np.asarray(picture.resize((16, 16)))
            assert network.predict(pixels[None]).tolist() == [name]
