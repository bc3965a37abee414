from pathlib import Path

import numpy as np
import pytest
from processes import Run, Start, finish, modules_loaded
from sklearn.datasets import load_digits as load_embedded

from bnnjax.data.dataset import DataError, spread_over_classes
from bnnjax.data.digits import embedded_digits, load_digits


def test_sizes_classes_and_balance(digits_dir: Path) -> None:
    dataset = load_digits(digits_dir)
    assert [len(split.labels) for split in (dataset.train, dataset.validation, dataset.test)] == [
        1287,
        150,
        360,
    ]
    for split in (dataset.train, dataset.validation, dataset.test):
        assert split.images.shape[1:] == (32, 32, 3)
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int32)
        counts = np.bincount(split.labels, minlength=10)
        assert counts.max() <= 1.15 * counts.min()
    assert dataset.class_names == tuple("0123456789")
    assert not dataset.augmentation.flip


def test_the_images_are_scikit_learns_digits(digits_dir: Path) -> None:
    small, labels = load_embedded(return_X_y=True)
    splits = embedded_digits(None)
    test = spread_over_classes(labels, 360)
    for split, chosen in ((splits["train"], ~test), (splits["test"], test)):
        np.testing.assert_array_equal(split.labels, labels[chosen])
        # Averaging each 4x4 block undoes the enlargement, up to what the interpolation mixes in.
        blocks = split.images.reshape(-1, 8, 4, 8, 4, 3).mean(axis=(2, 4, 5)).reshape(-1, 64) * (16 / 255)
        mine = np.abs(blocks - small[chosen]).mean(axis=1)
        others = np.abs(blocks - np.roll(small[chosen], 1, axis=0)).mean(axis=1)
        assert mine.max() < 1.2
        assert (mine < others).all()
    dataset = load_digits(digits_dir)
    np.testing.assert_array_equal(dataset.test.images, splits["test"].images)


def test_the_second_load_reads_the_first_ones_files(digits_dir: Path) -> None:
    directory = digits_dir / "bnnjax_digits" / "1.0.0"
    before = {path: path.stat().st_mtime_ns for path in directory.iterdir()}
    first, second = load_digits(digits_dir), load_digits(digits_dir)
    assert first.digest == second.digest
    assert {path: path.stat().st_mtime_ns for path in directory.iterdir()} == before
    assert first.source == str(directory)


def test_two_processes_that_prepare_at_once_agree(start: Start, tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, bnnjax.data as data\n"
        "print(data.load_digits(pathlib.Path(sys.argv[1])).digest)\n"
        "assert 'tensorflow' not in sys.modules"
    )
    both = [finish(process) for process in [start("-c", code, tmp_path) for _ in range(2)]]
    assert [(done.returncode, done.stderr) for done in both] == [(0, "")] * 2
    assert both[0].stdout == both[1].stdout
    assert [path.name for path in (tmp_path / "bnnjax_digits").iterdir()] == ["1.0.0"]


def test_importing_the_package_loads_no_reader(run: Run) -> None:
    assert modules_loaded(run, "import bnnjax.data", "tensorflow tensorflow_datasets sklearn PIL") == []


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "bnnjax_digits").write_text("in the way")
    with pytest.raises(DataError, match=f"cannot prepare bnnjax_digits in {tmp_path}"):
        load_digits(tmp_path)
