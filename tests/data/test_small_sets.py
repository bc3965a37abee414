"""The data sets of small images: downloaded in their official formats, or taken as TFDS has prepared them."""

import gzip
import hashlib
import io
import struct
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from scipy.io import savemat

from bnnjax.cli.train import DESCRIPTIONS
from bnnjax.config.small_sets import SMALL_SETS
from bnnjax.config.training import Config
from bnnjax.data import small_sets
from bnnjax.data.archive import cifar100_layout, read_archive
from bnnjax.data.augment import Augmentation
from bnnjax.data.dataset import DataError, Split
from bnnjax.data.formats import read_idx_file, read_svhn
from bnnjax.data.load import load
from bnnjax.data.small_sets import ORIGINS, File
from bnnjax.data.tfds import Description
from bnnjax.data.tfds_write import ImageSetBuilder, prepare

TRAIN, TEST = 200, 100  # every class of CIFAR-100 twice, and once


def made_up(name: str) -> dict[str, Split]:
    """Noise of the right shape, its labels in order."""
    rng, known = np.random.default_rng(0), SMALL_SETS[name]
    labels = np.arange(TRAIN, dtype=np.int32) % len(known.class_names)
    return {
        split: Split(rng.integers(0, 256, (count, *known.shape), dtype=np.uint8), labels[:count])
        for split, count in (("train", TRAIN), ("test", TEST))
    }


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_archive(folder: Path, splits: dict[str, Split]) -> None:
    with tarfile.open(folder / "cifar-100-binary.tar.gz", "w:gz") as tar:
        for name, (images, labels) in splits.items():
            planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
            coarse = np.array(small_sets.CIFAR100_COARSE)[labels]
            rows = np.column_stack([coarse, labels, planes]).astype(np.uint8)
            info = tarfile.TarInfo(f"cifar-100-binary/{name}.bin")
            info.size = rows.size
            tar.addfile(info, io.BytesIO(rows.tobytes()))


def publish(name: str, folder: Path, splits: dict[str, Split]) -> None:
    """Writes the files of a data set as its authors offer them."""
    if name == "cifar100":
        write_archive(folder, splits)
        return
    for split, (images, labels) in splits.items():
        if name == "svhn_cropped":
            digits = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
            savemat(folder / f"{split}_32x32.mat", {"X": images.transpose(1, 2, 3, 0), "y": digits})
        else:
            prefix = {"train": "train", "test": "t10k"}[split]
            pixels, numbers = idx(images[..., 0]), idx(labels.astype(np.uint8))
            (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(pixels))
            (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(numbers))


def described(path: Path) -> File:
    data = path.read_bytes()
    return File(path.name, len(data), hashlib.sha256(data).hexdigest())


@pytest.fixture(params=SMALL_SETS)
def published(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    serve: Callable[[Path], str],
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[str, dict[str, Split], Path]:
    """A data set on a local server, what it holds, and a data directory."""
    name, folder, data = request.param, tmp_path / "served", tmp_path / "data"
    for path in (folder, data):
        path.mkdir()
    splits, url = made_up(name), serve(folder)
    publish(name, folder, splits)
    files = tuple(described(folder / file.name) for file in ORIGINS[name].files)
    origin = ORIGINS[name]._replace(url=url, files=files)
    if name == "cifar100":
        layout = cifar100_layout(TRAIN, TEST)
        origin = origin._replace(read=lambda paths: read_archive(paths[0], layout))
    monkeypatch.setitem(ORIGINS, name, origin)
    return name, splits, data


def test_a_download_is_prepared_and_tfds_reads_it(
    published: tuple[str, dict[str, Split], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, splits, data = published
    known = SMALL_SETS[name]
    dataset = load(Config(dataset=name, data_dir=data))
    np.testing.assert_array_equal(dataset.test.images, splits["test"].images)
    np.testing.assert_array_equal(dataset.test.labels, splits["test"].labels)
    assert len(dataset.train.labels) + len(dataset.validation.labels) == TRAIN
    assert dataset.class_names == known.class_names
    assert dataset.augmentation == Augmentation(crop_padding=known.crop_padding, flip=known.flip)
    theirs = tfds.data_source(name, split="test", data_dir=data)
    assert len(theirs) == TEST
    for place in (0, 7, 99):
        np.testing.assert_array_equal(theirs[place]["image"], splits["test"].images[place])
        assert theirs[place]["label"] == splits["test"].labels[place]
    if name == "cifar100":
        assert theirs[4]["coarse_label"] == 0  # beavers are aquatic mammals, the first superclass
    # The second time nothing is asked of the server.
    monkeypatch.setattr(small_sets, "create", None)
    version = f"{name}/{ORIGINS[name].version}"
    assert load(Config(dataset=version, data_dir=data)).digest == dataset.digest


def test_a_damaged_download_is_refused(
    published: tuple[str, dict[str, Split], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _, data = published
    files = tuple(file._replace(sha256="0" * 64) for file in ORIGINS[name].files)
    monkeypatch.setitem(ORIGINS, name, ORIGINS[name]._replace(files=files))
    with pytest.raises(DataError, match=f"cannot prepare {name} in ") as caught:
        load(Config(dataset=name, data_dir=data))
    assert "\n" not in str(caught.value)
    assert list((data / name).glob("*/*")) == []


@pytest.mark.parametrize("name", SMALL_SETS)
def test_without_data_or_network_the_remedies_are_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "http://127.0.0.1:9/"
    monkeypatch.setitem(ORIGINS, name, ORIGINS[name]._replace(url=url))
    with pytest.raises(DataError) as caught:
        load(Config(dataset=name, data_dir=tmp_path))
    sentence = str(caught.value)
    for part in (SMALL_SETS[name].title, str(tmp_path / name), url, "refused", "--data-dir", "train digits"):
        assert part in sentence
    assert "\n" not in sentence
    assert list(tmp_path.iterdir()) == []


def write(root: Path, name: str, splits: dict[str, Split], classes: int) -> None:
    """Prepares a data set as TFDS does, which has numbers for names of classes."""
    shape = splits["train"].images.shape[1:]
    names = tuple(str(label) for label in range(classes))
    prepare(ImageSetBuilder(Description(name, "3.0.1", names, "", shape), lambda _: splits, root))


def test_a_prepared_copy_is_taken_and_its_classes_get_names(tmp_path: Path) -> None:
    splits = made_up("fashion_mnist")
    write(tmp_path, "fashion_mnist", splits, 10)
    dataset = load(Config(dataset="fashion_mnist", data_dir=tmp_path))
    np.testing.assert_array_equal(dataset.test.images, splits["test"].images)
    assert dataset.class_names[9] == "Ankle boot"
    assert dataset.augmentation == Augmentation(crop_padding=2, flip=True)


def test_something_else_under_the_name_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "mnist", made_up("svhn_cropped"), 10)
    with pytest.raises(
        DataError,
        match=r"is not MNIST: it has images of \(32, 32, 3\) in 10 classes, not of \(28, 28, 1\) in 10",
    ):
        load(Config(dataset="mnist", data_dir=tmp_path))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not an IDX file of bytes"),
        (b"no IDX file", "is not an IDX file of bytes"),
        (idx(np.zeros((2, 3), np.uint8))[:-1], "is not an IDX file of bytes"),
        (idx(np.zeros((2, 3), np.uint8)) + b"\0", "is not an IDX file of bytes"),
        (b"\0\0\x0d\1" + bytes(8), "is not an IDX file of bytes"),
    ],
)
def test_other_idx_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(data))
    with pytest.raises(DataError, match=f"^{path} {message}.$"):
        read_idx_file(path)
    path.write_bytes(gzip.compress(data)[:-3])
    with pytest.raises(DataError, match=f"{path} is damaged or not gzipped"):
        read_idx_file(path)


def test_other_matlab_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.mat"
    savemat(path, {"X": np.zeros((2, 2))})
    for data in (path.read_bytes(), path.read_bytes()[:150], b"no file of MATLAB" * 20):
        path.write_bytes(data)
        with pytest.raises(DataError, match=f"{path} is not a file of SVHN"):
            read_svhn(path)


def test_files_and_versions_are_those_that_tfds_knows() -> None:
    known = tfds.download.checksums.get_all_url_infos()
    svhn = tfds.core.tfds_path("datasets/svhn_cropped/checksums.tsv")  # it is not among them
    known = {**known, **tfds.download.checksums.load_url_infos(svhn)}
    for name, origin in ORIGINS.items():
        for file in origin.files:
            info = known[origin.url + file.name]
            assert (file.size, file.sha256) == (info.size, info.checksum)
        assert str(tfds.builder_cls(name).VERSION) == origin.version


def test_the_table_says_what_each_set_is() -> None:
    assert ORIGINS.keys() == SMALL_SETS.keys()
    for name, known in SMALL_SETS.items():
        assert known.flip == (name in ("cifar100", "fashion_mnist"))
        assert len({*known.class_names}) == (100 if name == "cifar100" else 10)
        assert f"{known.train:,} images of {'x'.join(map(str, known.shape))}" in DESCRIPTIONS[name]
    assert np.bincount(small_sets.CIFAR100_COARSE).tolist() == [5] * 20
    named = partial(SMALL_SETS["cifar100"].class_names.index)
    fish = {"aquarium_fish", "flatfish", "ray", "shark", "trout"}
    assert {small_sets.CIFAR100_COARSE[named(name)] for name in fish} == {1}
