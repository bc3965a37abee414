"""The index of a user's pictures: in folders named after their classes, or in a CSV of paths and labels."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bnnjax.data.dataset import DataError, is_hidden

# The names that a split may have in a folder or a list, and its name in TFDS.
SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
COLUMNS = ("path", "label")  # of a list; a third may be `split`


class Picture(NamedTuple):
    """A file, the name of its class, and the split that it is for: train, unless its source says more."""

    path: Path
    label: str
    split: str = "train"


def find_pictures(place: Path) -> list[Picture]:
    """Returns the pictures below a folder, or those that a CSV file lists; no file is opened.

    A folder has one folder for each class, in which every file counts that is not hidden; or it has folders
    train, val (or validation) and test that have these.

    Raises:
      DataError: there are none, or something is ambiguous.
    """
    if place.is_file():
        return list(from_list(place))
    if not place.is_dir():
        raise DataError(f"{place} is neither a folder nor a CSV file.")
    found = folders_in(place)
    if "train" not in found or not {*found} <= {*SPLITS}:
        return list(from_folders(place, "train"))
    if {"val", "validation"} <= {*found}:
        raise DataError(f"{place} has both val and validation: remove one.")
    return [picture for name in found for picture in from_folders(place / name, SPLITS[name])]


def folders_in(place: Path) -> list[str]:
    """Returns the names of the folders in a folder, in order, without hidden ones."""
    return sorted(path.name for path in place.iterdir() if path.is_dir() and not is_hidden(path))


def from_folders(place: Path, split: str) -> Iterator[Picture]:
    """Yields the files of a folder that has one folder for each class.

    Raises:
      DataError: it has none, or one of them is empty or has folders of its own.
    """
    classes = folders_in(place)
    if not classes:
        raise DataError(f"{place} has no folders: put the pictures of each class into one.")
    for name in classes:
        folder = place / name
        if folders_in(folder):
            raise DataError(
                f"{folder} has folders itself, where the pictures of one class are expected; "
                f"only folders that are all named {', '.join(SPLITS)} are splits."
            )
        files = sorted(path for path in folder.iterdir() if not is_hidden(path))
        if not files:
            raise DataError(f"{folder} is empty.")
        yield from (Picture(path, as_label(name, folder), split) for path in files)


def from_list(file: Path) -> Iterator[Picture]:
    """Yields the pictures of a CSV file with the columns path and label, and perhaps split.

    Paths are relative to its folder.

    Raises:
      DataError: it cannot be read as such, lists nothing, or a picture twice.
    """
    seen: set[Path] = set()
    try:
        with open(file, newline="", encoding="utf-8-sig") as text:
            rows = csv.DictReader(text, strict=True)
            columns = rows.fieldnames or ()
            if missing := [name for name in COLUMNS if name not in columns]:
                raise DataError(f"{file} has no column {missing[0]}: its columns are {', '.join(columns)}.")
            for row in rows:
                where = f"{file}, line {rows.line_num}"
                path, split = file.parent / (row["path"] or ""), row.get("split", "train")
                if not row["path"]:
                    raise DataError(f"{where}: there is no path.")
                if path in seen:
                    raise DataError(f"{where}: {path} is listed a second time.")
                if split not in SPLITS:
                    raise DataError(f"{where}: the split is {split}, allowed are {', '.join(SPLITS)}.")
                seen.add(path)
                yield Picture(path, as_label(row["label"], where), SPLITS[split])
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is no CSV file in UTF-8: {error}.") from error
    if not seen:
        raise DataError(f"{file} lists no pictures.")


def as_label(text: str | None, where: object) -> str:
    """Returns a class's name as TFDS will give it back: on one line, without spaces around it.

    Raises:
      DataError: nothing is left, or it cannot be written.
    """
    name = " ".join((text or "").split())
    if not name:
        raise DataError(f"{where}: there is no label.")
    if not name.isprintable():
        raise DataError(f"{where}: the label {name!a} cannot be printed.")
    return name


def classes_of(pictures: list[Picture]) -> tuple[str, ...]:
    """Returns the names of the classes in order: as numbers if all are whole numbers, else by alphabet.

    Raises:
      DataError: there is one only.
    """
    names = {picture.label for picture in pictures}
    if len(names) < 2:
        raise DataError(f"all pictures have the label {names.pop()}: two classes or more are needed.")
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))
