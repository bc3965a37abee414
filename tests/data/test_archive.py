import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bnnjax.data.archive import TEST_FILE, TRAIN_FILES, cifar10_layout, read_archive
from bnnjax.data.dataset import DataError

BATCH = 20
LAYOUT = cifar10_layout(BATCH)
Members = dict[str, bytes]
Make = Callable[[list[tuple[str, bytes]]], Path]


def test_every_byte_lands_where_the_format_says(archive: Path, members: Members) -> None:
    splits = read_archive(archive, LAYOUT)
    assert splits["train"].images.shape == (5 * BATCH, 32, 32, 3)
    assert splits["test"].images.shape == (BATCH, 32, 32, 3)
    assert splits["train"].labels.dtype == np.int32
    rng = np.random.default_rng(2)
    for _ in range(200):
        file, record, row, column, channel = (int(rng.integers(n)) for n in (6, BATCH, 32, 32, 3))
        data = members[(*TRAIN_FILES, TEST_FILE)[file]]
        split, place = ("test", record) if file == 5 else ("train", file * BATCH + record)
        pixel = data[record * 3073 + 1 + channel * 1024 + row * 32 + column]
        assert splits[split].images[place, row, column, channel] == pixel
        assert splits[split].labels[place] == data[record * 3073]


def test_a_repacked_archive_is_accepted(archive_of: Make, members: Members, archive: Path) -> None:
    original = read_archive(archive, LAYOUT)
    shuffled = [("readme.html", b"<p>"), *reversed(members.items()), ("../../escape.txt", b"x")]
    again = read_archive(archive_of(shuffled), LAYOUT)
    np.testing.assert_array_equal(again["train"].images, original["train"].images)
    np.testing.assert_array_equal(again["test"].labels, original["test"].labels)


def without_test(members: Members) -> list[tuple[str, bytes]]:
    return [(name, data) for name, data in members.items() if name != TEST_FILE]


def with_test(data: Callable[[bytes], bytes]) -> Callable[[Members], list[tuple[str, bytes]]]:
    return lambda members: [*without_test(members), (TEST_FILE, data(members[TEST_FILE]))]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_test, "lacks test_batch.bin: it is not the binary version"),
        (lambda members: [("data_batch_1", b"pickle")], "lacks data_batch_1.bin"),
        (lambda members: [*members.items(), (TEST_FILE, members[TEST_FILE])], "holds test_batch.bin twice"),
        (with_test(lambda data: data[:-1]), "test_batch.bin in the archive .* has 61459 bytes, not 61460"),
        (with_test(lambda data: data + b"\0"), "has 61461 bytes, not 61460"),
        (with_test(lambda data: b"\x0a" + data[1:]), "has the label 10: allowed is 0 to 9"),
    ],
)
def test_wrong_contents_are_refused(
    archive_of: Make, members: Members, change: Callable[[Members], list[tuple[str, bytes]]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_archive(archive_of(change(members)), LAYOUT)


def test_a_link_in_place_of_a_file_is_not_followed(tmp_path: Path, members: Members) -> None:
    path = tmp_path / "linked.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, data in without_test(members):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo(TEST_FILE)
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    with pytest.raises(DataError, match=r"test_batch\.bin in the archive"):
        read_archive(path, LAYOUT)


@pytest.mark.parametrize("keep", [0, 1, 9, 10, 5000, 200_000, -2000, -9, -8, -4, -1])
def test_a_cut_archive_is_refused_by_name(archive: Path, keep: int) -> None:
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(DataError, match=str(archive)):
        read_archive(archive, LAYOUT)


@pytest.mark.parametrize("place", [0, 2, 30, 5000, 200_000, -100, -8, -5, -4, -1])
def test_a_flipped_bit_is_refused_by_name(archive: Path, place: int) -> None:
    data = bytearray(archive.read_bytes())
    data[place] ^= 4
    archive.write_bytes(bytes(data))
    with pytest.raises(DataError, match=str(archive)):
        read_archive(archive, LAYOUT)


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"archive {tmp_path}/none.tar.gz does not exist"):
        read_archive(tmp_path / "none.tar.gz", LAYOUT)
