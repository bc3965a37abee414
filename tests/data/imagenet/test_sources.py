"""Images found in tar files and folders, and sources that are rejected."""

import io
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from imagenet_set import SYNSETS, TRAIN, VALIDATION

from bnnjax.data import DataError
from bnnjax.data.imagenet.sources import (
    TRAIN_TAR,
    VALIDATION_TAR,
    Images,
    Labels,
    find_images,
    official_labels,
)

LABELS = official_labels(SYNSETS)


def contents(images: Images) -> dict[str, tuple[int, bytes]]:
    """Label and bytes of each image by its name."""
    return {
        str(name): (int(images.labels[place]), images.read(place)) for place, name in enumerate(images.names)
    }


def by_tarfile(place: Path) -> dict[str, tuple[int, bytes]]:
    """The same of the training images, read by extraction."""
    found = {}
    with tarfile.open(place / TRAIN_TAR) as outer:
        for synset in outer:
            inner = outer.extractfile(synset)
            assert inner is not None
            with tarfile.open(fileobj=io.BytesIO(inner.read())) as tar:
                for member in tar:
                    file = tar.extractfile(member)
                    assert file is not None
                    found[member.name] = (SYNSETS.index(synset.name[:-4]), file.read())
    return found


def unpacked(source: Path, place: Path, flat: bool) -> Path:
    """The tar files as folders; validation images in one or in a folder a synset."""
    for name, (label, data) in by_tarfile(source).items():
        file = place / "train" / SYNSETS[label] / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    with tarfile.open(source / VALIDATION_TAR) as tar:
        for member in tar:
            number = int(member.name[15:23])
            folder = place / "val" / ("" if flat else LABELS.validation[number - 1])
            folder.mkdir(parents=True, exist_ok=True)
            file = tar.extractfile(member)
            assert file is not None
            (folder / member.name).write_bytes(file.read())
    return place


@pytest.fixture
def tars(imagenet_tars: Path, tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    for name in (TRAIN_TAR, VALIDATION_TAR):
        shutil.copy(imagenet_tars / name, tmp_path / name)
    return tmp_path


def test_what_macos_leaves_beside_files_is_no_image(imagenet_tars: Path, tmp_path: Path) -> None:
    place = unpacked(imagenet_tars, tmp_path, flat=True)
    expected = {split: contents(find_images(place, split, LABELS)) for split in ("train", "validation")}
    for folder in (place / "val", *(place / "train").iterdir()):
        first = next(folder.iterdir())
        first.with_name(f"._{first.name}").write_bytes(b"of macOS")
    with tarfile.open(place / VALIDATION_TAR, "w") as tar:
        for file in (place / "val").iterdir():
            tar.add(file, file.name)
    for where in ("folder", "tar"):
        found = {split: contents(find_images(place, split, LABELS)) for split in ("train", "validation")}
        assert found == expected, where
        shutil.rmtree(place / "val", ignore_errors=True)


def test_labels_are_those_of_tfds_in_sorted_order() -> None:
    everything = official_labels()
    assert len(everything.synsets) == 1000
    assert list(everything.synsets) == sorted(everything.synsets)
    assert (everything.synsets[0], everything.synsets[-1]) == ("n01440764", "n15075141")
    # Of ILSVRC2012_val_00000001.JPEG to ..3: a sea snake, an alp, a Shetland sheepdog.
    assert everything.validation[:3] == ("n01751748", "n09193705", "n02105855")
    assert set(np.unique(everything.validation, return_counts=True)[1]) == {50}


def test_all_images_of_the_tar_files_are_found_with_their_labels(imagenet_tars: Path) -> None:
    train = contents(find_images(imagenet_tars, "train", LABELS))
    assert train == by_tarfile(imagenet_tars)
    assert len(train) == len(SYNSETS) * TRAIN
    validation = find_images(imagenet_tars, "validation", LABELS)
    assert np.bincount(validation.labels).tolist() == [VALIDATION] * len(SYNSETS)
    for name, label in zip(validation.names, validation.labels, strict=True):
        assert LABELS.validation[int(name[15:23]) - 1] == SYNSETS[label]


@pytest.mark.parametrize("flat", [True, False])
def test_folders_give_what_tar_files_give_in_the_same_order(
    imagenet_tars: Path, tmp_path: Path, flat: bool
) -> None:
    folders = unpacked(imagenet_tars, tmp_path, flat)
    for split in ("train", "validation"):
        ours, theirs = (find_images(place, split, LABELS) for place in (folders, imagenet_tars))
        assert ours.names.tolist() == theirs.names.tolist()
        assert contents(ours) == contents(theirs)


def test_the_order_mixes_the_classes(imagenet_tars: Path) -> None:
    labels = find_images(imagenet_tars, "train", LABELS).labels
    assert np.mean(np.diff(labels) == 0) < 0.4


def test_images_of_other_synsets_are_left_out(imagenet_tars: Path) -> None:
    few = official_labels(SYNSETS[1:3])
    assert np.bincount(find_images(imagenet_tars, "train", few).labels).tolist() == [TRAIN] * 2
    assert np.bincount(find_images(imagenet_tars, "validation", few).labels).tolist() == [VALIDATION] * 2


def refused(place: Path, split: str, labels: Labels = LABELS) -> str:
    with pytest.raises(DataError) as raised:
        find_images(place, split, labels)
    sentence = str(raised.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def test_synsets_that_are_missing_are_named(imagenet_tars: Path) -> None:
    assert "has 5 of 1000 synsets: n01443537 is missing" in refused(imagenet_tars, "train", official_labels())
    more = official_labels([*SYNSETS, "n15075141"])
    assert "5 of 6 synsets: n15075141 is missing" in refused(imagenet_tars, "train", more)
    assert "no validation image of n15075141" in refused(imagenet_tars, "validation", more)


def test_the_number_of_images_of_all_synsets_must_be_the_official_one(tmp_path: Path) -> None:
    everything = official_labels()
    (tmp_path / "val").mkdir()
    for synset in everything.synsets:
        first = everything.validation.index(synset) + 1
        (tmp_path / "val" / f"ILSVRC2012_val_{first:08d}.JPEG").touch()
    assert "has 1,000 validation images, not 50,000" in refused(tmp_path, "validation", everything)


@pytest.mark.parametrize(("split", "name"), [("train", TRAIN_TAR), ("validation", VALIDATION_TAR)])
def test_a_tar_file_that_is_not_there_is_named(tmp_path: Path, split: str, name: str) -> None:
    assert f"holds neither {name} nor a folder" in refused(tmp_path, split)


@pytest.mark.parametrize("left", [0, 100, 700, 0.4, 0.6, 0.8])
@pytest.mark.parametrize(("split", "name"), [("train", TRAIN_TAR), ("validation", VALIDATION_TAR)])
def test_a_tar_file_that_is_cut_off_is_refused(tars: Path, split: str, name: str, left: float) -> None:
    data = (tars / name).read_bytes()
    (tars / name).write_bytes(data[: round(left if left > 1 else left * len(data))])
    sentence = refused(tars, split)
    assert name in sentence
    assert "truncated" in sentence


def members_of(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getmembers()


def test_a_tar_file_that_is_cut_off_between_two_images_is_refused(tars: Path) -> None:
    data = (tars / VALIDATION_TAR).read_bytes()
    (tars / VALIDATION_TAR).write_bytes(data[: members_of(data)[7].offset])
    assert "is truncated after ILSVRC2012_val_" in refused(tars, "validation")


def test_a_synset_whose_own_tar_file_is_cut_off_is_named(tars: Path) -> None:
    with tarfile.open(tars / TRAIN_TAR) as outer:
        inner = {member.name: outer.extractfile(member).read() for member in outer}  # type: ignore[union-attr]
    synset = f"{SYNSETS[2]}.tar"
    inner[synset] = inner[synset][: members_of(inner[synset])[5].offset]
    with tarfile.open(tars / TRAIN_TAR, "w") as outer:
        for name, data in inner.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            outer.addfile(info, io.BytesIO(data))
    assert f"{synset} in {tars / TRAIN_TAR} is truncated after {SYNSETS[2]}_4.JPEG" in refused(tars, "train")


def test_a_file_that_is_no_validation_image_is_named(imagenet_tars: Path, tmp_path: Path) -> None:
    folders = unpacked(imagenet_tars, tmp_path, flat=True)
    (folders / "val" / "cat.jpeg").touch()
    assert "holds cat.jpeg, which is none of ImageNet's validation images" in refused(folders, "validation")


@pytest.mark.parametrize(
    ("synsets", "message"),
    [(["n00000000"], "n00000000 is not one"), ([], "0 synsets"), (["n01440764"] * 2, "2 synsets, 1 of them")],
)
def test_lists_of_synsets_that_make_no_sense_are_refused(synsets: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        official_labels(synsets)
