"""Preparing CIFAR-10 from an archive and from a server, and failing well without either."""

import dataclasses
import hashlib
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from bnnjax.data.archive import cifar10_layout, read_archive
from bnnjax.data.augment import Augmentation
from bnnjax.data.cifar10 import CLASS_NAMES, DESCRIPTION, Origin, load_cifar10
from bnnjax.data.dataset import DataError
from bnnjax.data.download import why_unreachable
from bnnjax.data.tfds_write import ImageSetBuilder, prepare

BATCH = 20
LAYOUT = cifar10_layout(BATCH)


@pytest.fixture
def served(archive: Path, serve: Callable[[Path], str]) -> Origin:
    """The origin of an archive that a local server offers."""
    data = archive.read_bytes()
    return Origin(
        url=serve(archive.parent) + archive.name,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        batch_examples=BATCH,
        patience=5.0,
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def left_behind(root: Path) -> list[str]:
    """Every file below the data directory, but for TFDS's store of downloads."""
    return sorted(p.name for p in root.rglob("*") if p.is_file() and "downloads" not in p.parts)


def test_an_archive_is_prepared_once_and_read_again(root: Path, archive: Path, origin: Origin) -> None:
    first = load_cifar10(root, archive=archive, validation_examples=10, origin=origin)
    raw = read_archive(archive, LAYOUT)
    np.testing.assert_array_equal(first.test.images, raw["test"].images)
    np.testing.assert_array_equal(first.test.labels, raw["test"].labels)
    assert first.class_names == CLASS_NAMES
    assert first.augmentation == Augmentation(crop_padding=4, flip=True)
    assert first.source == str(root / "cifar10" / "3.0.2")
    np.testing.assert_array_equal(np.bincount(first.validation.labels), [1] * 10)
    archive.unlink()
    assert load_cifar10(root, validation_examples=10, origin=origin).digest == first.digest


def test_tfds_itself_reads_what_we_prepare(pristine: Path, origin: Origin) -> None:
    ours = load_cifar10(pristine, validation_examples=10, origin=origin)
    theirs = tfds.data_source("cifar10", split="test", data_dir=pristine)
    assert len(theirs) == BATCH
    for i in (0, 7, 19):
        np.testing.assert_array_equal(theirs[i]["image"], ours.test.images[i])
        assert theirs[i]["label"] == ours.test.labels[i]


def test_an_archive_must_match_what_is_prepared(
    root: Path, archive: Path, archive_of, members, origin
) -> None:
    first = load_cifar10(root, archive=archive, validation_examples=10, origin=origin)
    again = load_cifar10(root, archive=archive, validation_examples=10, origin=origin)
    assert again.digest == first.digest
    archive_of([*list(members.items())[:-1], ("test_batch.bin", members["data_batch_1.bin"])])
    with pytest.raises(DataError, match="was prepared before and does not hold the images of"):
        load_cifar10(root, archive=archive, validation_examples=10, origin=origin)


def test_a_damaged_archive_leaves_nothing_behind(root: Path, archive: Path, origin: Origin) -> None:
    archive.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(DataError, match=str(archive)):
        load_cifar10(root, archive=archive, validation_examples=10, origin=origin)
    assert left_behind(root) == []


def test_a_download_is_checked_and_prepared(
    root: Path, served: Origin, archive: Path, origin: Origin
) -> None:
    downloaded = load_cifar10(root, validation_examples=10, origin=served)
    archive_too = load_cifar10(root, archive=archive, validation_examples=10, origin=origin)
    assert downloaded.digest == archive_too.digest


@pytest.mark.parametrize("wrong", [{"sha256": "0" * 64}, {"size": 17}])
def test_a_download_with_another_checksum_is_refused(root: Path, served: Origin, wrong: dict) -> None:
    with pytest.raises(DataError, match="cannot prepare cifar10") as caught:
        load_cifar10(root, validation_examples=10, origin=dataclasses.replace(served, **wrong))
    assert "\n" not in str(caught.value)
    assert left_behind(root) == []


def test_without_data_or_network_the_remedies_are_named(root: Path, origin: Origin, capfd) -> None:
    with pytest.raises(DataError) as caught:
        load_cifar10(root, validation_examples=10, origin=origin)
    message = str(caught.value)
    for part in (str(root), origin.url, "--data-dir", "--archive", "bnnjax train digits"):
        assert part in message
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")
    assert list(root.iterdir()) == []


def test_each_way_of_being_unreachable_is_said(served: Origin) -> None:
    assert why_unreachable(served.url, 5) == ""
    assert why_unreachable(served.url + ".old", 5) == "HTTP status 404"
    assert "refused" in why_unreachable("http://127.0.0.1:9/", 5)
    assert why_unreachable("http://name.invalid/", 10) != ""


def test_a_server_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reason = why_unreachable(f"http://127.0.0.1:{silent.getsockname()[1]}/", 0.3)
    assert reason in ("no answer within 0.3 s", "timed out")


def test_who_loses_the_race_takes_what_the_winner_prepared(root: Path, archive: Path, origin: Origin) -> None:
    splits = read_archive(archive, LAYOUT)

    def fetch_while_another_prepares(_: object) -> dict:
        prepare(ImageSetBuilder(DESCRIPTION, lambda _: splits, root))
        return splits

    prepare(ImageSetBuilder(DESCRIPTION, fetch_while_another_prepares, root))
    assert [path.name for path in (root / "cifar10").iterdir()] == ["3.0.2"]
    load_cifar10(root, archive=archive, validation_examples=10, origin=origin)


def test_the_official_archive_has_the_checksum_that_tfds_knows() -> None:
    known = tfds.download.checksums.get_all_url_infos()[Origin().url]
    assert (known.size, known.checksum) == (Origin().size, Origin().sha256)
