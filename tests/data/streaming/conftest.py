"""The tiny ImageNet's records."""

import shutil
from pathlib import Path

import pytest

from bnnjax.data.streaming.records import Records, open_records
from bnnjax.data.tfds import open_prepared


def opened(directory: Path, split: str) -> Records:
    return open_records(open_prepared(directory, ("train", "validation")), split)


@pytest.fixture(scope="session")
def train(imagenet_dir: Path) -> Records:
    return opened(imagenet_dir / "imagenet2012" / "5.1.0", "train")


@pytest.fixture
def damaged(imagenet_dir: Path, tmp_path: Path) -> Records:
    """A copy of the records, of which number 5 has a flipped bit."""
    directory = tmp_path / "imagenet2012"
    shutil.copytree(imagenet_dir / "imagenet2012" / "5.1.0", directory)
    (path,) = directory.glob("*-train.*")
    image = opened(directory, "train")[5].image
    data = bytearray(path.read_bytes())
    assert data.count(image) == 1
    data[data.index(image) + len(image) // 2] ^= 4
    path.write_bytes(data)
    return opened(directory, "train")
