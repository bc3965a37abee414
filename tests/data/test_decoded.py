"""The cache of decoded splits gives what decoding gives, and never anything else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnnjax.data import DataError
from bnnjax.data import decoded as cache
from bnnjax.data.prepared import open_prepared, read_split


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    return tmp_path / "empty" / "bnnjax" / "decoded"


def opened(root: Path) -> Any:
    return open_prepared(root / "cifar10" / "3.0.2")


def assert_same(left: Any, right: Any) -> None:
    np.testing.assert_array_equal(left.images, right.images)
    np.testing.assert_array_equal(left.labels, right.labels)


def test_second_read_does_not_decode(prepared: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read_split(opened(prepared), "test")
    assert_same(cache.cached_split(opened(prepared), "test"), expected)
    assert len(list(folder.iterdir())) == 1
    monkeypatch.setattr(cache, "read_split", lambda *_: pytest.fail("decoded again"))
    assert_same(cache.cached_split(opened(prepared), "test"), expected)


def test_splits_have_keys_of_their_own(prepared: Path, folder: Path) -> None:
    builder = opened(prepared)
    assert cache.split_key(builder, "train") != cache.split_key(builder, "test")


def test_damage_to_a_record_file_is_found_although_the_split_is_cached(prepared: Path, folder: Path) -> None:
    cache.cached_split(opened(prepared), "test")
    (file,) = (prepared / "cifar10" / "3.0.2").glob("cifar10-test.array_record*")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(DataError, match=file.name):
        cache.cached_split(opened(prepared), "test")


def test_missing_record_file_is_named(prepared: Path, folder: Path) -> None:
    (file,) = (prepared / "cifar10" / "3.0.2").glob("cifar10-test.array_record*")
    file.unlink()
    with pytest.raises(DataError, match=file.name):
        cache.cached_split(opened(prepared), "test")


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
def test_damaged_cache_is_made_again(damage: str, prepared: Path, folder: Path) -> None:
    expected = cache.cached_split(opened(prepared), "test")
    (file,) = folder.iterdir()
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    file.write_bytes({"truncate": content[:-100], "flip": content, "empty": b""}[damage])
    assert_same(cache.cached_split(opened(prepared), "test"), expected)
    with np.load(file) as stored:
        np.testing.assert_array_equal(stored["images"], expected.images)


def test_cache_that_cannot_be_written_is_done_without(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert_same(cache.cached_split(opened(prepared), "test"), read_split(opened(prepared), "test"))
