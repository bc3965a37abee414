"""The cache of decoded splits gives what decoding gives, and never anything else."""

from pathlib import Path

import numpy as np
import pytest

from bnnjax.data import DataError, cache
from bnnjax.data.tfds import Stored, read_prepared


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    return tmp_path / "empty" / "bnnjax" / "decoded"


def version(root: Path) -> Path:
    return root / "cifar10" / "3.0.2"


def assert_same(left: Stored, right: Stored) -> None:
    assert (left.name, left.class_names) == (right.name, right.class_names)
    for one, other in ((left.train, right.train), (left.test, right.test)):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.labels, other.labels)
        assert (one.images.dtype, one.labels.dtype) == (np.uint8, np.int32)


def test_second_read_does_not_decode(prepared: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read_prepared(version(prepared))
    assert_same(cache.read_cached(version(prepared)), expected)
    assert len(list(folder.iterdir())) == 1
    monkeypatch.setattr(cache, "read_prepared", lambda *_: pytest.fail("decoded again"))
    assert_same(cache.read_cached(version(prepared)), expected)


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "label.labels.txt"])
def test_every_file_is_part_of_the_key(prepared: Path, name: str) -> None:
    before = cache.content_key(version(prepared))
    file = version(prepared) / name
    file.write_text(file.read_text() + " ")
    assert cache.content_key(version(prepared)) != before


def test_damage_to_a_record_file_is_found_although_the_split_is_cached(prepared: Path, folder: Path) -> None:
    cache.read_cached(version(prepared))
    (file,) = (prepared / "cifar10" / "3.0.2").glob("cifar10-test.array_record*")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(DataError, match=file.name):
        cache.read_cached(version(prepared))


def test_missing_record_file_is_named(prepared: Path, folder: Path) -> None:
    (file,) = (prepared / "cifar10" / "3.0.2").glob("cifar10-test.array_record*")
    file.unlink()
    with pytest.raises(DataError, match=file.name):
        cache.read_cached(version(prepared))


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
def test_damaged_cache_is_made_again(damage: str, prepared: Path, folder: Path) -> None:
    expected = cache.read_cached(version(prepared))
    (file,) = folder.iterdir()
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    file.write_bytes({"truncate": content[:-100], "flip": content, "empty": b""}[damage])
    assert_same(cache.read_cached(version(prepared)), expected)
    with np.load(file) as stored:
        np.testing.assert_array_equal(stored["test_images"], expected.test.images)


def test_cache_that_cannot_be_written_is_done_without(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert_same(cache.read_cached(version(prepared)), read_prepared(version(prepared)))
