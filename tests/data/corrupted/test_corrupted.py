"""Corrupted test images: each form is written as published, read back, and rejected when wrong."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType

import jax
import numpy as np
import pytest

from bnnjax.data import tfds_write
from bnnjax.data.augment import Augmentation
from bnnjax.data.corrupted import CorruptedSet, arrays, generated, open_corrupted
from bnnjax.data.dataset import DataError, Dataset, Split

N = 12
CLASSES = ("n01", "n02", "n03")
LABELS = np.array([2, 0, 1, 1, 0, 2, 0, 1, 2, 2, 1, 0], np.int32)
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 8, 8, 3), dtype=np.uint8)


def data_set(labels: np.ndarray = LABELS, images: np.ndarray = IMAGES, classes: tuple = CLASSES) -> Dataset:
    split = Split(images, labels)
    return Dataset(
        name="shapes",
        class_names=classes,
        train=split,
        validation=split,
        test=split,
        augmentation=Augmentation(),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        source="",
        digest="",
    )


def noisy(corruption: str, severity: int) -> np.ndarray:
    """Fake images of a corruption, with different pixels for each, uint8 [n, 8, 8, 3]."""
    return IMAGES ^ np.uint8(16 * severity + len(corruption))


def all_of(
    found: CorruptedSet, corruption: str, severities: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    batches = list(found.batches(corruption, severities))
    for batch in batches:
        assert batch.images.shape[:2] == (len(severities), len(batch.labels))
        assert (batch.images.dtype, batch.labels.dtype) == (np.uint8, np.int32)
    images = np.concatenate([np.asarray(batch.images) for batch in batches], axis=1)
    return images, np.concatenate([batch.labels for batch in batches])


def sizes(found: CorruptedSet, corruption: str) -> list[int]:
    return [len(batch.labels) for batch in found.batches(corruption, found.severities[:1])]


def refuse(where: Path, message: str, dataset: Dataset | None = None) -> None:
    """The set is rejected, when it is opened or when it is read."""

    def everything() -> None:
        found = open_corrupted(where, dataset or data_set())
        for name in found.corruptions:
            list(found.batches(name, found.severities))

    with pytest.raises(DataError, match=message) as caught:
        everything()
    assert "\n" not in str(caught.value)


# .npy files


@pytest.fixture
def npy(tmp_path: Path) -> Path:
    for name in ("fog", "gaussian_noise", "unheard_of"):
        np.save(tmp_path / f"{name}.npy", np.concatenate([noisy(name, severity) for severity in range(1, 6)]))
    np.save(tmp_path / "labels.npy", np.tile(LABELS, 5).astype(np.uint8))
    return tmp_path


def test_npy_files_are_cut_into_severities(npy: Path) -> None:
    found = open_corrupted(npy, data_set(), batch_size=5)
    assert found.source == f".npy files in {npy}"
    assert (found.examples, found.severities, found.is_aligned) == (N, (1, 2, 3, 4, 5), True)
    assert {*found.corruptions} == {"fog", "gaussian_noise", "unheard_of"}
    assert found.corruptions[0] == "gaussian_noise"  # the benchmark's order, others behind
    images, labels = all_of(found, "fog", (4, 1))
    np.testing.assert_array_equal(images, [noisy("fog", 4), noisy("fog", 1)])
    np.testing.assert_array_equal(labels, LABELS)
    assert sizes(found, "fog") == [5, 5, 2]


def test_only_arrays_of_images_are_corruptions(npy: Path) -> None:
    expected = open_corrupted(npy, data_set()).corruptions
    np.save(npy / "labels_old.npy", np.tile(LABELS, 5))
    (npy / "._fog.npy").write_bytes(b"of macOS")
    assert open_corrupted(npy, data_set()).corruptions == expected
    np.save(npy / "snow.npy", np.tile(LABELS, 5))
    refuse(npy, r"snow\.npy is int32 \[60\]: uint8")


def test_the_first_images_of_npy_files(npy: Path) -> None:
    images, labels = all_of(open_corrupted(npy, data_set(), examples=7, batch_size=5), "fog", (2,))
    np.testing.assert_array_equal(images, [noisy("fog", 2)[:7]])
    np.testing.assert_array_equal(labels, LABELS[:7])


def test_other_or_sorted_labels_are_not_aligned(npy: Path) -> None:
    assert not open_corrupted(npy, data_set(np.roll(LABELS, 1))).is_aligned
    assert not open_corrupted(npy, data_set(LABELS[:-1], IMAGES[:-1])).is_aligned
    np.save(npy / "labels.npy", np.tile(np.sort(LABELS), 5))
    assert not open_corrupted(npy, data_set(np.sort(LABELS))).is_aligned


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("labels", np.tile(LABELS, 5)[:-1], r"labels\.npy is int32 \[59\]: integers, 5 times"),
        ("labels", np.tile(LABELS, 5) * 0.5, r"labels\.npy is float64 \[60\]"),
        ("labels", np.zeros((5, N), int), r"labels\.npy is int64 \[5, 12\]"),
        ("labels", np.zeros(0, int), r"labels\.npy is int64 \[0\]"),
        ("labels", np.repeat(LABELS, 5), "should hold the same labels 5 times"),
        ("labels", np.tile(LABELS, 5) + 1, "labels from 1 to 3: shapes has 3 classes"),
        ("labels", np.tile(LABELS[:10], 5), r"uint8 \[50, 8, 8, 3\] is expected for shapes and labels\.npy"),
        (
            "fog",
            np.zeros((60, 8, 8, 1), np.uint8),
            r"fog\.npy is uint8 \[60, 8, 8, 1\]: uint8 \[60, 8, 8, 3\]",
        ),
        ("fog", np.zeros((60, 8, 8, 3), np.float32), r"fog\.npy is float32"),
        ("fog", np.array([{}]), r"cannot read .*fog\.npy: missing or not a complete \.npy file"),
    ],
)
def test_wrong_npy_files_are_refused(npy: Path, name: str, array: np.ndarray, message: str) -> None:
    np.save(npy / f"{name}.npy", array)
    refuse(npy, message)


def test_missing_and_cut_npy_files_are_refused(npy: Path) -> None:
    refuse(npy, r"fog\.npy is uint8 .* uint8 \[60, 4, 4, 3\]", data_set(images=IMAGES[:, :4, :4]))
    refuse(npy, "labels from 0 to 2: shapes has 2 classes", data_set(classes=CLASSES[:2]))
    (npy / "fog.npy").write_bytes((npy / "fog.npy").read_bytes()[:-1])
    refuse(npy, r"cannot read .*fog\.npy")
    for name in ("fog", "gaussian_noise", "unheard_of"):
        (npy / f"{name}.npy").unlink()
    refuse(npy, r"has labels\.npy, but no NAME\.npy")
    (npy / "labels.npy").rename(npy / "fog.npy")
    refuse(npy, r"cannot read .*labels\.npy: missing")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda found: found.batches("snow", (1,)), "no 'snow' in .*; there are gaussian_noise, fog"),
        (lambda found: found.batches("fog", (1, 6)), r"some of 1, 2, 3, 4, 5 in .*; got \[1, 6\]"),
        (lambda found: found.batches("fog", ()), r"got \[\]"),
    ],
)
def test_what_a_set_does_not_have_is_refused_at_once(
    npy: Path, call: Callable[[CorruptedSet], object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        call(open_corrupted(npy, data_set()))


@pytest.mark.parametrize("examples", [0, 13])
def test_numbers_of_images_are_checked(npy: Path, examples: int) -> None:
    for where in (npy, None):
        with pytest.raises(ValueError, match=f"cannot use {examples} of 12 images: allowed is 1 to 12"):
            open_corrupted(where, data_set(), examples=examples)
        with pytest.raises(ValueError, match="batch size 0"):
            open_corrupted(where, data_set(), batch_size=0)


# TFDS


def write_prepared(
    root: Path, config: str, images: np.ndarray, *, labels: np.ndarray = LABELS, names: tuple | None = None
) -> None:
    """Writes root/shapes_corrupted/CONFIG/1.0.0 as TFDS does: hashed order, classes that may lack names."""
    import tensorflow_datasets as tfds

    class Corrupted(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = "shapes_corrupted"
        VERSION = tfds.core.Version("1.0.0")
        checksums = url_infos = MappingProxyType({})
        BUILDER_CONFIGS = (tfds.core.BuilderConfig(name=config),)

        def _info(self) -> tfds.core.DatasetInfo:
            classes = {"names": names} if names else {"num_classes": len(CLASSES)}
            features = {
                "image": tfds.features.Image(shape=images.shape[1:]),
                "label": tfds.features.ClassLabel(**classes),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, _: object) -> dict[str, Iterator]:
            return {"test": self._generate_examples()}

        def _generate_examples(self) -> Iterator:
            for i, (image, label) in enumerate(zip(images, labels, strict=True)):
                yield i, {"image": tfds_write.as_png(image), "label": int(label)}

    tfds_write.prepare(Corrupted(data_dir=root, config=config, file_format="array_record"))


@pytest.fixture(scope="module")
def pristine_prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("prepared")
    for config, name in (("fog", "fog"), ("frosted_glass_blur", "glass_blur")):
        for severity in (1, 3):
            write_prepared(root, f"{config}_{severity}", noisy(name, severity))
    return root


def test_prepared_sets_are_read_in_their_stored_order(pristine_prepared: Path) -> None:
    where = pristine_prepared / "shapes_corrupted"
    found = open_corrupted(where, data_set(), batch_size=5)
    assert found.source == f"TFDS shapes_corrupted 1.0.0 in {pristine_prepared}"
    assert {*found.corruptions} == {"fog", "glass_blur"}  # TFDS calls one frosted_glass_blur
    assert (found.severities, found.examples, found.is_aligned) == ((1, 3), N, False)
    for name in found.corruptions:
        images, labels = all_of(found, name, (3, 1))
        # TFDS shuffles by key: find each image among those written.
        order = [next(i for i in range(N) if np.array_equal(noisy(name, 3)[i], each)) for each in images[0]]
        assert sorted(order) == list(range(N)) != order
        np.testing.assert_array_equal(images[1], noisy(name, 1)[order])
        np.testing.assert_array_equal(labels, LABELS[order])
        assert sizes(found, name) == [5, 5, 2]
    shuffled = data_set(LABELS[order], IMAGES[order])
    assert open_corrupted(where, shuffled).is_aligned
    # The data directory will do, and a part of the images.
    first = open_corrupted(pristine_prepared, data_set(), examples=7, batch_size=4)
    np.testing.assert_array_equal(all_of(first, "fog", (1,))[0][0], noisy("fog", 1)[order[:7]])
    refuse(
        where, r"has 3 classes and images of shape \(8, 8, 3\): shapes has 2", data_set(classes=CLASSES[:2])
    )
    refuse(where, r"shapes has 3 and \(4, 8, 3\)", data_set(images=IMAGES[:, :4]))


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        ("fog_2", {}, "lacks severity 2 of brightness, which another"),
        ("fog_1", {"names": ("a", "b", "c")}, "has the classes a, b, c, ...: shapes has n01, n02, n03, ..."),
        ("fog_1", {"labels": np.roll(LABELS, 1)}, "fog_1/1.0.0 has its images in another order"),
        ("fog_1", {"images": IMAGES[:9], "labels": LABELS[:9]}, "fog_1/1.0.0 has 9 images, others 12"),
        ("fog_1", {"images": IMAGES[:, :4]}, r"images of shape \(4, 8, 3\): shapes"),
    ],
)
def test_prepared_sets_that_do_not_fit_are_refused(
    tmp_path: Path, config: str, changes: dict, message: str
) -> None:
    write_prepared(tmp_path, "brightness_1", IMAGES, names=CLASSES)
    write_prepared(tmp_path, config, **{"images": IMAGES, **changes})
    refuse(tmp_path, message)


def test_damaged_prepared_sets_are_refused(tmp_path: Path) -> None:
    write_prepared(tmp_path, "brightness_1", IMAGES)
    version = tmp_path / "shapes_corrupted" / "brightness_1" / "1.0.0"
    records = next(version.glob("*.array_record*"))
    whole = records.read_bytes()
    for part in (b"", whole[: len(whole) // 2]):
        records.write_bytes(part)
        refuse(tmp_path, f"cannot read {version}, it is damaged or incomplete")
    records.write_bytes(whole)
    second = version.parent / "2.0.0"
    second.mkdir()
    (second / "dataset_info.json").write_text("{")
    refuse(tmp_path, "brightness_1 should hold one prepared version, found: 1.0.0, 2.0.0")
    (second / "dataset_info.json").unlink()
    (version / "dataset_info.json").write_text("{")
    refuse(tmp_path, "has a damaged dataset_info.json")


# folders


def write_folders(where: Path, suffix: str = "JPEG", names: tuple = CLASSES) -> dict[str, np.ndarray]:
    """Writes SEVERITY/CLASS/FILE for severities 1 and 5; returns the decoded images by such paths."""
    from PIL import Image

    decoded = {}
    for severity in (1, 5):
        for i, (image, label) in enumerate(zip(noisy(where.name, severity), LABELS, strict=True)):
            path = where / str(severity) / names[label] / f"ILSVRC2012_val_{i:08d}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path, "JPEG", quality=85)
            decoded[str(path.relative_to(where))] = np.asarray(Image.open(path))
    return decoded


@pytest.mark.parametrize("group", ["", "noise"])
def test_folders_of_images_are_read_class_by_class(tmp_path: Path, group: str) -> None:
    decoded = write_folders(tmp_path / group / "gaussian_noise")
    write_folders(tmp_path / "fog")
    for stray in (".DS_Store", "._fog.npy", "fog/1/n01/._ILSVRC2012_val_00000001.JPEG", "fog/1/._n01/1.png"):
        (tmp_path / stray).parent.mkdir(exist_ok=True)
        (tmp_path / stray).write_bytes(b"of macOS")
    found = open_corrupted(tmp_path, data_set(), batch_size=5)
    assert found.source == f"image folders in {tmp_path}"
    assert (found.corruptions, found.severities) == (("gaussian_noise", "fog"), (1, 5))
    assert (found.examples, found.is_aligned) == (N, False)
    images, labels = all_of(found, "gaussian_noise", (5, 1))
    for severity, own in zip((5, 1), images, strict=True):
        files = sorted(file for file in decoded if file.startswith(str(severity)))
        np.testing.assert_array_equal(own, [decoded[file] for file in files])
        np.testing.assert_array_equal(labels, [CLASSES.index(file.split("/")[1]) for file in files])
    assert sizes(found, "fog") == [5, 5, 2]
    # A part is spread over the classes.
    few = open_corrupted(tmp_path, data_set(), examples=6)
    assert all_of(few, "fog", (1,))[1].tolist() == [0, 0, 1, 1, 2, 2]
    reordered = data_set(classes=("n03", "n01", "n02"))
    np.testing.assert_array_equal(
        all_of(open_corrupted(tmp_path, reordered), "fog", (1,))[1], (labels + 1) % 3
    )
    words = data_set(classes=("cat", "dog", "cow"))
    np.testing.assert_array_equal(all_of(open_corrupted(tmp_path, words), "fog", (1,))[1], labels)


def test_wrong_folders_are_refused(tmp_path: Path) -> None:
    from PIL import Image

    write_folders(tmp_path / "fog", suffix="jpg")
    write_folders(tmp_path / "snow", suffix="jpg")
    refuse(tmp_path, "has images in 3 class folders: shapes has 2 classes", data_set(classes=CLASSES[:2]))
    refuse(
        tmp_path,
        r"n01/ILSVRC2012_val_00000001\.jpg, .* \(8, 8\) pixels, not \(4, 8\)",
        data_set(images=IMAGES[:, :4]),
    )
    last = tmp_path / "snow" / "5" / "n03" / "ILSVRC2012_val_00000009.jpg"
    whole = last.read_bytes()
    for bad in (b"", whole[:-40], b"no image"):
        last.write_bytes(bad)
        refuse(tmp_path, f"cannot read {last}, it is damaged")
    last.unlink()
    refuse(tmp_path, "snow/5 does not hold the same images as the others: n03/ILSVRC2012_val_00000009")
    Image.fromarray(IMAGES[0]).save(last.with_name("another.png"))
    refuse(tmp_path, "snow/5 does not hold the same images")
    (tmp_path / "snow" / "5").rename(tmp_path / "five")
    refuse(tmp_path, "lacks severity 5 of snow, which another")


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    refuse(tmp_path / "none", "directory of corrupted images .*none does not exist")
    refuse(tmp_path, "holds no corrupted images: expected are")
    (tmp_path / "train" / "n01").mkdir(parents=True)
    (tmp_path / "readme.txt").touch()
    refuse(tmp_path, "holds no corrupted images: expected are")


# generated


@pytest.fixture
def shapes_seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Stands in for the noise: pixels moved by key, corruption, severity and place, all of them exactly."""
    seen: list[tuple[int, ...]] = []

    def corrupt_severities(
        key: jax.Array, images: np.ndarray, corruption: str, severities: tuple[int, ...], *, first: int = 0
    ) -> np.ndarray:
        seen.append(images.shape)
        seed = int(jax.random.key_data(key)[-1])
        moves = (first + np.arange(len(images)) + seed + len(corruption)).astype(np.uint8)
        return np.stack([images ^ (moves[:, None, None, None] + np.uint8(20 * s)) for s in severities])

    monkeypatch.setattr(arrays.corruptions, "corrupt_severities", corrupt_severities, raising=False)
    return seen


def test_generated_images_do_not_depend_on_how_they_are_cut(shapes_seen: list[tuple[int, ...]]) -> None:
    found = open_corrupted(None, data_set(), seed=3, batch_size=5)
    assert found.source == "generated from shapes test images, CIFAR-10-C's values, seed 3"
    assert (found.examples, found.is_aligned, found.severities) == (N, True, (1, 2, 3, 4, 5))
    assert sizes(found, "gaussian_noise") == [5, 5, 2]
    assert {*shapes_seen} == {(5, 8, 8, 3)}  # one program, the last batch too
    images, labels = all_of(found, "gaussian_noise", (5, 2))
    moves = (np.arange(N) + 3 + len("gaussian_noise")).astype(np.uint8)[:, None, None, None]
    np.testing.assert_array_equal(images, [IMAGES ^ (moves + np.uint8(20 * s)) for s in (5, 2)])
    np.testing.assert_array_equal(labels, LABELS)
    few = generated(data_set().test, 3, name="shapes", examples=7, batch_size=100)
    del shapes_seen[:]
    np.testing.assert_array_equal(all_of(few, "gaussian_noise", (5, 2))[0], images[:, :7])
    assert shapes_seen == [(7, 8, 8, 3)]
