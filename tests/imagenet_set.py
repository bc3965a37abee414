"""A tiny ImageNet in the official layout, and what it is prepared into."""

import subprocess
import sys
from pathlib import Path

from bnnjax.data.imagenet.generated import write_official
from bnnjax.data.imagenet.sources import official_labels

SYNSETS = ("n01440764", "n01530575", "n02105855", "n02701002", "n04447861")
TRAIN, VALIDATION = 24, 4  # images of each
SIZES = ((64, 48), (48, 64), (56, 56))


def write_tars(place: Path) -> Path:
    """Writes the tar files and the list of synsets; returns the directory."""
    write_official(place, official_labels(SYNSETS), TRAIN, VALIDATION, SIZES)
    (place / "synsets.txt").write_text("\n".join(SYNSETS) + "\n")
    return place


def prepare(
    source: Path, root: Path, *more: object, environment: dict[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Runs the command that prepares ImageNet."""
    command = [sys.executable, "-W", "error", "-m", "bnnjax.data.prepare", "imagenet2012"]
    arguments = ["--from", source, "--data-dir", root, *more]
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, env=environment, check=False
    )
