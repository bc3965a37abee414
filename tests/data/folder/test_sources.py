"""Finding a user's pictures; no file is opened, so these are empty."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from bnnjax.data.dataset import DataError
from bnnjax.data.folder.sources import Picture, classes_of, find_pictures


def touch(place: Path, names: Iterable[str]) -> None:
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).touch()


def found(place: Path) -> list[tuple[str, str, str]]:
    root = place if place.is_dir() else place.parent
    return [(str(path.relative_to(root)), label, split) for path, label, split in find_pictures(place)]


def refuse(place: Path, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        find_pictures(place)
    assert "\n" not in str(caught.value)


def test_folders_are_classes_and_hidden_files_are_none(tmp_path: Path) -> None:
    touch(tmp_path, ["dog/b.jpg", "dog/a.PNG", "red  cat/1", "red  cat/._1", ".git/config", "README.txt"])
    assert found(tmp_path) == [
        ("dog/a.PNG", "dog", "train"),
        ("dog/b.jpg", "dog", "train"),
        ("red  cat/1", "red cat", "train"),
    ]


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_folders_with_the_names_of_splits_are_splits(tmp_path: Path, validation: str) -> None:
    touch(tmp_path, ["train/a/1", "train/b/2", "test/b/3", f"{validation}/a/4"])
    assert sorted(found(tmp_path)) == sorted(
        [
            ("train/a/1", "a", "train"),
            ("train/b/2", "b", "train"),
            ("test/b/3", "b", "test"),
            (f"{validation}/a/4", "a", "validation"),
        ]
    )


def test_a_class_may_have_the_name_of_a_split(tmp_path: Path) -> None:
    touch(tmp_path, ["train/1", "bus/2"])
    assert found(tmp_path) == [("bus/2", "bus", "train"), ("train/1", "train", "train")]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "has no folders: put the pictures of each class into one"),
        (["1.png", "2.png"], "has no folders"),
        (["a/1", "b/.hidden"], "b is empty"),
        (["train/1", "test/2"], "test has no folders"),
        (["train/a/1", "test/a/2", "extra/3"], "test has folders itself, .* only folders that are all named"),
        (["a/1", "b/2", "b/more/3"], "b has folders itself"),
        (["train/a/1", "val/a/2", "validation/a/3"], "has both val and validation: remove one"),
    ],
)
def test_other_folders_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    touch(tmp_path, names)
    refuse(tmp_path, message)


def test_a_place_that_is_not_there_is_named(tmp_path: Path) -> None:
    refuse(tmp_path / "none", f"^{tmp_path}/none is neither a folder nor a CSV file.$")


def test_a_list_has_paths_relative_to_it_and_labels(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(
        '\ufefflabel,more,path\ncat,x,p/1.png\n" black, small ",y,2.png\n', "utf-8"
    )
    assert found(tmp_path / "list.csv") == [
        ("p/1.png", "cat", "train"),
        ("2.png", "black, small", "train"),
    ]


def test_a_list_may_name_splits(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label,split\n1,a,val\n2,b,test\n3,a,train\n4,b,validation\n")
    assert [split for *_, split in found(tmp_path / "list.csv")] == [
        "validation",
        "test",
        "train",
        "validation",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "has no column path: its columns are ."),
        (b"file,label\n1,a\n", "has no column path: its columns are file, label"),
        (b"path;label\n1;a\n", "has no column path: its columns are path;label"),
        (b"path,label\n", "lists no pictures"),
        (b"path,label\n1,a\n,b\n", "line 3: there is no path"),
        (b"path,label\n1,a\n2\n", "line 3: there is no label"),
        (b"path,label\n1,a\n2,  \n", "line 3: there is no label"),
        (b"path,label\n1,a\n1,b\n", "line 3: .*/1 is listed a second time"),
        (b"path,label\n1,a\x07\n", r"line 2: the label 'a\\x07' cannot be printed"),
        (
            b"path,label,split\n1,a,dev\n",
            "line 2: the split is dev, allowed are train, val, validation, test",
        ),
        (b"path,label,split\n1,a\n", "line 2: the split is None"),
        (b"path,label\n1,\xe9\n", "is no CSV file in UTF-8"),
        (b'path,label\n1,"a\n', "is no CSV file in UTF-8: unexpected end of data"),
    ],
)
def test_other_lists_are_refused(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "list.csv").write_bytes(text)
    refuse(tmp_path / "list.csv", message)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["10", "9", "2", "9"], ("2", "9", "10")),
        (["10", "9", "2b"], ("10", "2b", "9")),
        (["dog", "Cat", "ant"], ("Cat", "ant", "dog")),
    ],
)
def test_classes_are_in_order(labels: list[str], classes: tuple[str, ...]) -> None:
    assert classes_of([Picture(Path(str(i)), label) for i, label in enumerate(labels)]) == classes


def test_one_class_is_too_few() -> None:
    with pytest.raises(DataError, match="all pictures have the label a: two classes or more are needed"):
        classes_of([Picture(Path("1"), "a"), Picture(Path("2"), "a")])
