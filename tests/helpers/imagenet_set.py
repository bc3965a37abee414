"""A tiny ImageNet in the official layout, and its preparation."""

from pathlib import Path

from processes import Finished, Run

from bnnjax.benchmarks.fake_imagenet import write_official
from bnnjax.data.imagenet.sources import official_labels

SYNSETS = ("n01440764", "n01530575", "n02105855", "n02701002", "n04447861")
TRAIN, VALIDATION = 24, 4  # images of each
SIZES = ((64, 48), (48, 64), (56, 56))


def write_tars(place: Path) -> Path:
    """Writes the tar files and the list of synsets; returns the directory."""
    write_official(place, official_labels(SYNSETS), TRAIN, VALIDATION, SIZES)
    (place / "synsets.txt").write_text("\n".join(SYNSETS) + "\n")
    return place


def prepare(run: Run, source: Path, root: Path, *more: object) -> Finished:
    """Runs the command that prepares ImageNet."""
    command = ("-W", "error", "-m", "bnnjax", "prepare", "imagenet2012")
    return run(*command, "--from", source, "--data-dir", root, *more)
