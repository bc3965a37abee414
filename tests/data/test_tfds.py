"""Reading a prepared directory, and rejecting it for every kind of damage."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

import bnnjax.data.tfds
from bnnjax.data import tfds_write
from bnnjax.data.augment import Augmentation
from bnnjax.data.cifar10 import DESCRIPTION, Origin, load_cifar10
from bnnjax.data.dataset import DataError, Split
from bnnjax.data.tfds import data_root, read_prepared
from bnnjax.data.tfds_set import load_prepared

TRAIN, TEST = (f"cifar10-{split}.array_record-00000-of-00001" for split in ("train", "test"))


def flip_bit(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))


def edit_info(directory: Path, change: Callable[[dict], None]) -> None:
    path = directory / "dataset_info.json"
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def refuse(root: Path, origin: Origin, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_cifar10(root, validation_examples=10, origin=origin)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [TRAIN, TEST])
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: os.truncate(path, 0),
        lambda path: os.truncate(path, path.stat().st_size // 2),
        lambda path: os.truncate(path, path.stat().st_size - 1),
        lambda path: os.truncate(path, path.stat().st_size - 65536),
        lambda path: path.write_bytes(b"not records" * 10_000),
        lambda path: flip_bit(path, 70),
        lambda path: flip_bit(path, 1000),
        lambda path: flip_bit(path, 60_000),
        lambda path: flip_bit(path, -65536),
        Path.unlink,
    ],
    ids=["empty", "half", "byte", "tail", "junk", "header", "first", "later", "footer", "missing"],
)
def test_a_damaged_record_file_is_named(
    prepared: Path, origin: Origin, name: str, damage: Callable[[Path], None]
) -> None:
    path = prepared / "cifar10" / "3.0.2" / name
    damage(path)
    refuse(prepared, origin, f"cannot read {re.escape(str(path))}, it is damaged or incomplete")


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
def test_a_missing_or_damaged_description_is_named(prepared: Path, origin: Origin, name: str) -> None:
    path = prepared / "cifar10" / "3.0.2" / name
    path.write_text("{")
    refuse(prepared, origin, f"{path.parent} has a damaged dataset_info.json or features.json")
    path.unlink()
    refuse(prepared, origin, f"{path.parent} is not a complete TFDS data set, {name} is missing")


def test_a_tfrecord_directory_says_what_to_do(prepared: Path, origin: Origin) -> None:
    edit_info(prepared / "cifar10" / "3.0.2", lambda info: info.update(fileFormat="tfrecord"))
    refuse(prepared, origin, "holds tfrecord files, .* prepare it with file_format='array_record'")


@pytest.mark.parametrize(
    ("lengths", "message"),
    [(["99"], r"train has the shape \(99, 32, 32, 3\), not \(100"), (["101"], f"cannot read .*{TRAIN}")],
)
def test_wrong_counts_are_refused(prepared: Path, origin: Origin, lengths: list[str], message: str) -> None:
    edit_info(prepared / "cifar10" / "3.0.2", lambda info: info["splits"][0].update(shardLengths=lengths))
    refuse(prepared, origin, message)


def test_a_directory_without_a_test_split_is_refused(prepared: Path, origin: Origin) -> None:
    edit_info(prepared / "cifar10" / "3.0.2", lambda info: info["splits"].pop())
    refuse(prepared, origin, r"has the splits \['train'\]")


def test_other_classes_are_not_cifar10(prepared: Path, origin: Origin) -> None:
    (prepared / "cifar10" / "3.0.2" / "label.labels.txt").write_text("\n".join("abcdefghij"))
    refuse(prepared, origin, "is not CIFAR-10: its classes are a, b, c")


def test_other_features_are_refused(prepared: Path, origin: Origin) -> None:
    path = prepared / "cifar10" / "3.0.2" / "features.json"
    features = json.loads(path.read_text())
    features["featuresDict"]["features"]["picture"] = features["featuresDict"]["features"].pop("image")
    path.write_text(json.dumps(features))
    refuse(prepared, origin, r"needs an 'image' and a 'label' .* it has \['id', 'label', 'picture'\]")


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            {"img": tfds.features.Image(shape=(8, 8, 3)), "fine_label": tfds.features.ClassLabel(names="ab")},
            r"needs an 'image' and a 'label' that is a class, it has \['fine_label', 'img'\]",
        ),
        (
            {"image": tfds.features.Image(shape=(8, 8, 3)), "label": tfds.features.ClassLabel()},
            r"has images of shape \(8, 8, 3\) and type uint8 and None classes: .* a known number of classes",
        ),
        (
            {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(names="ab")},
            r"has images of shape \(None, None, 3\) and type uint8 and 2 classes: 8-bit images of one shape",
        ),
    ],
)
def test_sets_of_another_kind_are_refused(
    features: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    builder = SimpleNamespace(
        data_dir=tmp_path, name="other", info=SimpleNamespace(features=tfds.features.FeaturesDict(features))
    )
    monkeypatch.setattr(bnnjax.data.tfds, "open_prepared", lambda directory: builder)
    with pytest.raises(DataError, match=message):
        read_prepared(tmp_path)


def test_the_root_is_absolute_and_may_be_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    (tmp_path / "data").mkdir()
    assert data_root(Path("data")) == data_root(Path("~/data")) == tmp_path / "data"
    assert data_root(None) == tmp_path / "tensorflow_datasets"
    with pytest.raises(
        DataError, match=r"no home directory for ~nobody-has-this-name: give another --data-dir"
    ):
        data_root(Path("~nobody-has-this-name"))


def test_images_of_another_size_than_described_are_refused(prepared: Path, origin: Origin) -> None:
    path = prepared / "cifar10" / "3.0.2" / "features.json"
    path.write_text(path.read_text().replace('"32"', '"16"'))
    refuse(prepared, origin, r"an image has \(32, 32\) pixels, not \(16, 16\)")


def test_a_whole_record_with_a_broken_image_is_refused(tmp_path: Path, origin: Origin) -> None:
    class Broken(tfds_write.ImageSetBuilder, skip_registration=True):  # type: ignore[call-arg]
        def _generate_examples(self, name, split):
            for i, example in super()._generate_examples(name, split):
                if i == 3:
                    png = bytearray(example["image"].read())
                    png[len(png) // 2] ^= 255
                    example["image"] = bytes(png)
                yield i, example

    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    split = Split(images, np.arange(20, dtype=np.int32) % 10)
    splits = {"train": split, "test": split}
    tfds_write.prepare(Broken(DESCRIPTION, lambda _: splits, tmp_path))
    refuse(tmp_path, origin, f"cannot read .*{TRAIN}, it is damaged")


def test_any_prepared_set_can_be_loaded_by_its_name(pristine: Path, origin: Origin) -> None:
    same = load_cifar10(pristine, validation_examples=10, origin=origin)
    for name in ("cifar10", "cifar10/3.0.2"):
        dataset = load_prepared(name, pristine, validation_examples=10)
        assert dataset.digest == same.digest
        assert dataset.class_names == same.class_names
        assert dataset.augmentation == Augmentation()


def test_an_absent_or_ambiguous_set_is_refused(prepared: Path) -> None:
    with pytest.raises(DataError, match="mnist should hold one prepared version, found: none"):
        load_prepared("mnist", prepared, validation_examples=10)
    (prepared / "cifar10" / "1.0.0").mkdir()
    (prepared / "cifar10" / "1.0.0" / "dataset_info.json").touch()
    with pytest.raises(DataError, match=r"found: 1\.0\.0, 3\.0\.2"):
        load_prepared("cifar10", prepared, validation_examples=10)


def test_the_data_directory_is_the_given_one_then_the_variable_then_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TFDS_DATA_DIR", "~/elsewhere")
    assert data_root(tmp_path) == tmp_path
    assert data_root(None) == tmp_path / "elsewhere"
    monkeypatch.delenv("TFDS_DATA_DIR")
    assert data_root(None) == tmp_path / "tensorflow_datasets"


def test_a_given_directory_must_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none does not exist"):
        data_root(tmp_path / "none")
