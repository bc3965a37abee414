"""A user's pictures as splits: who is where, and what happens to those that cannot be read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bnnjax.data.dataset import DataError
from bnnjax.data.folder.sources import Picture
from bnnjax.data.folder.splits import Decoded, decode_all, split_pictures

CLASSES = ("a", "b")


def numbered(count: int, **damaged: str) -> Decoded:
    """Pictures whose only pixel is their place."""
    images = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1)
    return Decoded(images, {int(place[1:]): why for place, why in damaged.items()})


def pictures(labels: str, splits: list[str] | None = None) -> list[Picture]:
    named = splits or ["train"] * len(labels)
    return [Picture(Path(str(i)), *both) for i, both in enumerate(zip(labels, named, strict=True))]


def test_a_fifth_of_each_class_becomes_the_test_and_the_seed_decides_which() -> None:
    given = pictures("a" * 20 + "b" * 30)
    seen = set()
    for seed in range(4):
        splits = split_pictures(given, CLASSES, numbered(50), seed=seed)
        again = split_pictures(given, CLASSES, numbered(50), seed=seed)
        assert {*splits} == {"train", "test"}
        places = {name: split.images.reshape(-1) for name, split in splits.items()}
        assert sorted(np.concatenate(list(places.values()))) == list(range(50))
        for name, split in splits.items():
            np.testing.assert_array_equal(split.labels, places[name] >= 20)
            np.testing.assert_array_equal(split.images, again[name].images)
        assert np.bincount(splits["test"].labels).tolist() == [4, 6]
        assert np.any(np.diff(splits["train"].labels) < 0)  # not sorted by class
        seen.add(tuple(sorted(places["test"])))
    assert len(seen) == 4


def test_the_share_of_the_test_may_be_another() -> None:
    splits = split_pictures(pictures("a" * 20 + "b" * 20), CLASSES, numbered(40), test_share=0.5)
    assert np.bincount(splits["test"].labels).tolist() == [10, 10]


def test_given_splits_are_kept() -> None:
    named = ["train", "train", "validation", "test", "test", "train"]
    splits = split_pictures(pictures("abbaab", named), CLASSES, numbered(6))
    found = {name: sorted(split.images.reshape(-1).tolist()) for name, split in splits.items()}
    assert found == {"train": [0, 1, 5], "validation": [2], "test": [3, 4]}
    with pytest.raises(DataError, match="a test share is given, but there are pictures for the test"):
        split_pictures(pictures("abbaab", named), CLASSES, numbered(6), test_share=0.2)


def test_without_a_test_it_is_split_off_the_training_pictures_alone() -> None:
    named = ["train"] * 10 + ["validation"] * 2
    splits = split_pictures(pictures("ab" * 6, named), CLASSES, numbered(12))
    assert sorted(splits["validation"].images.reshape(-1).tolist()) == [10, 11]
    assert len(splits["test"].labels) == 2


def test_damaged_pictures_are_left_out() -> None:
    splits = split_pictures(pictures("ab" * 5), CLASSES, numbered(10, p3="gone", p4="gone"))
    kept = np.concatenate([split.images.reshape(-1) for split in splits.values()])
    assert sorted(kept.tolist()) == [0, 1, 2, 5, 6, 7, 8, 9]


def test_what_leaves_a_split_or_a_class_without_pictures_is_refused() -> None:
    with pytest.raises(DataError, match="no picture for the split test can be read"):
        split_pictures(pictures("aab", ["train", "test", "train"]), CLASSES, numbered(3, p1="gone"))
    with pytest.raises(DataError, match="the class b has no picture left for training"):
        split_pictures(pictures("aab", ["train", "test", "test"]), CLASSES, numbered(3))
    with pytest.raises(DataError, match="the class b has no picture left for training"):
        split_pictures(pictures("aaab"), CLASSES, numbered(4, p3="gone"))


def save(path: Path, pixels: np.ndarray) -> Picture:
    Image.fromarray(pixels).save(path)
    return Picture(path, "a")


def test_grey_stays_grey_unless_one_picture_has_colours(tmp_path: Path) -> None:
    grey = [save(tmp_path / f"{i}.png", np.full((8, 8), 10 * i, np.uint8)) for i in range(3)]
    images, damaged = decode_all(grey, 8, "crop")
    assert (images.shape, damaged) == ((3, 8, 8, 1), {})
    assert images[:, 0, 0, 0].tolist() == [0, 10, 20]
    mixed = [*grey, save(tmp_path / "colour.png", np.full((8, 8, 3), (1, 2, 3), np.uint8))]
    images, _ = decode_all(mixed, 8, "crop")
    assert images[2:, 0, 0].tolist() == [[20, 20, 20], [1, 2, 3]]


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.png", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    half, text = tmp_path / "half.png", tmp_path / "text.jpg"
    half.write_bytes(whole.path.read_bytes()[:5000])
    text.write_text("no picture")
    told: list[None] = []
    given = [Picture(half, "a"), whole, Picture(text, "a"), Picture(tmp_path / "none.png", "b")]
    images, damaged = decode_all(given, 16, "crop", lambda: told.append(None))
    assert images.shape == (4, 16, 16, 3)
    assert images[1].any()
    assert {*damaged} == {0, 2, 3}
    assert "truncated" in damaged[0]
    assert "cannot identify" in damaged[2]
    assert "No such file" in damaged[3]
    assert len(told) == 4
