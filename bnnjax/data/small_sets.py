"""Loads the data sets of `config.small_sets`, which are downloaded when they are first used.

They are stored under the names, versions and features that TFDS gives them, so that each reads what the other
prepared.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bnnjax.config.small_sets import SMALL_SETS
from bnnjax.data.archive import cifar100_layout, read_archive
from bnnjax.data.augment import Augmentation
from bnnjax.data.dataset import DataError, Dataset, Split
from bnnjax.data.download import why_unreachable
from bnnjax.data.formats import read_idx, read_svhn
from bnnjax.data.tfds import Description, data_root, is_prepared
from bnnjax.data.tfds_set import load_prepared

PATIENCE = 10.0  # seconds until a server counts as unreachable
# TFDS stores the superclass of each class of CIFAR-100, too.
CIFAR100_COARSE = (
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7, 6, 13, 15, 3, 15, 0,
    11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17,
    10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19,
    18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
)  # fmt: skip


class File(NamedTuple):
    """A file that is downloaded."""

    name: str
    size: int  # bytes
    sha256: str


class Origin(NamedTuple):
    """Where a data set is downloaded from, and how its files are read."""

    version: str  # TFDS's, of what is made of it
    url: str  # of the folder of the files
    files: tuple[File, ...]
    read: Callable[[Sequence[Path]], dict[str, Split]]  # of the downloaded files, in their order
    coarse_labels: tuple[int, ...] = ()


ORIGINS = {
    "cifar100": Origin(
        "3.0.2",
        "https://www.cs.toronto.edu/~kriz/",
        (
            File(
                "cifar-100-binary.tar.gz",
                168513733,
                "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
            ),
        ),
        lambda paths: read_archive(paths[0], cifar100_layout()),
        CIFAR100_COARSE,
    ),
    "svhn_cropped": Origin(
        "3.1.0",
        "http://ufldl.stanford.edu/housenumbers/",
        (
            File(
                "train_32x32.mat",
                182040794,
                "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
            ),
            File(
                "test_32x32.mat",
                64275384,
                "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
            ),
        ),
        lambda paths: {"train": read_svhn(paths[0]), "test": read_svhn(paths[1])},
    ),
    "mnist": Origin(
        "3.0.1",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        (
            File(
                "train-images-idx3-ubyte.gz",
                9912422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            File(
                "train-labels-idx1-ubyte.gz",
                28881,
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            File(
                "t10k-images-idx3-ubyte.gz",
                1648877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            File(
                "t10k-labels-idx1-ubyte.gz",
                4542,
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ),
        read_idx,
    ),
    "fashion_mnist": Origin(
        "3.0.1",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (
            File(
                "train-images-idx3-ubyte.gz",
                26421880,
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            File(
                "train-labels-idx1-ubyte.gz",
                29515,
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            ),
            File(
                "t10k-images-idx3-ubyte.gz",
                4422102,
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ),
            File(
                "t10k-labels-idx1-ubyte.gz",
                5148,
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        ),
        read_idx,
    ),
}


def load_small(name: str, data_dir: Path | None = None, *, train_examples: int | None = None) -> Dataset:
    """Loads one of SMALL_SETS; where it is not prepared, downloads it.

    Args:
      name: of the data set or, for one of several versions, with the version: `mnist/3.0.1`.
      data_dir: see `data_root`; a download is stored there too.
      train_examples: use only so many of the training images that are not held out, the first ones.

    Raises:
      DataError: it is neither prepared nor reachable, damaged, or something else under its name.
    """
    root, own = data_root(data_dir), name.partition("/")[0]
    known = SMALL_SETS[own]
    if not is_prepared(root / own):
        create(own, root)
    augmentation = Augmentation(crop_padding=known.crop_padding, flip=known.flip)
    dataset = load_prepared(name, root, train_examples=train_examples, augmentation=augmentation)
    found = dataset.image_shape, len(dataset.class_names)
    if found != (known.shape, len(known.class_names)):
        raise DataError(
            f"{dataset.source} is not {known.title}: it has images of {found[0]} in {found[1]} classes, "
            f"not of {known.shape} in {len(known.class_names)}."
        )
    # In TFDS's own copies of Fashion-MNIST classes have numbers for names.
    return dataclasses.replace(dataset, class_names=known.class_names)


def create(name: str, root: Path) -> None:
    """Downloads a data set and prepares it below `root`.

    Raises:
      DataError: it cannot be reached, or preparing fails.
    """
    known, origin = SMALL_SETS[name], ORIGINS[name]
    checksums = {origin.url + file.name: (file.size, file.sha256) for file in origin.files}
    urls = list(checksums)
    if reason := why_unreachable(urls[0], PATIENCE):
        raise DataError(
            f"{known.title} is not prepared in {root / name} and {urls[0]} cannot be reached ({reason}): "
            "use --data-dir with a prepared copy, or bnnjax train digits, which needs no download."
        )
    from bnnjax.data.tfds_write import ImageSetBuilder, prepare

    def fetch(downloads: Any) -> dict[str, Split]:
        return origin.read([Path(path) for path in downloads.download(urls)])

    text = f"{known.title}, {known.shows}"
    described = Description(name, origin.version, known.class_names, text, known.shape, origin.coarse_labels)
    prepare(ImageSetBuilder(described, fetch, root, checksums))
