"""`bnnjax prepare folder`: makes a data set of a user's own pictures."""

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from bnnjax.cli.main import Experiment, Work, WorkError
from bnnjax.config.checks import check
from bnnjax.config.names import Fit
from bnnjax.report.style.formatting import count_text
from bnnjax.runtime.console import say
from bnnjax.runtime.exit_codes import INTERRUPTED
from bnnjax.runtime.signals import interrupting

if TYPE_CHECKING:
    from rich.console import Console

    from bnnjax.data.folder.sources import Picture

VERSION = "1.0.0"
NAME = re.compile(r"[a-zA-Z]\w*", re.ASCII)  # as TFDS allows


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Where pictures are, and the data set that they become."""

    # A folder that has one folder of pictures for each class, or folders train, val and test that have these;
    # or a CSV file with the columns path and label, and perhaps split.
    place: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    # What the data set is called: letters, digits and _.
    name: str = ""
    # Directory of data sets; by default TFDS's.
    data_dir: Path | None = None
    # Height and width of its images.
    size: int = 32
    # How a picture becomes a square: by its middle, by black borders, or distorted.
    fit: Fit = "crop"
    # Without pictures for the test: the share of the others that become it, the same of every class; by
    # default a fifth.
    test_share: float | None = None
    # Drives which ones these are, and the order of the images.
    seed: int = 0
    # Leave out pictures that cannot be read; they are listed anyway.
    skip_corrupt: bool = False

    def __post_init__(self) -> None:
        is_name = not self.name or NAME.fullmatch(self.name) is not None
        check("name", self.name, "letters, digits and _ with a letter first", is_name)
        check("size", self.size, "between 8 and 1024", 8 <= self.size <= 1024)
        if self.test_share is not None:
            check("test_share", self.test_share, "between 0 and 1", 0 < self.test_share < 1)
        check("seed", self.seed, "between 0 and 2^32 - 1", 0 <= self.seed < 2**32)


def prepare(arguments: Arguments) -> Work:
    """Checks the arguments and returns the work."""
    from bnnjax.data.folder.sources import classes_of, find_pictures
    from bnnjax.data.load import NAMES
    from bnnjax.data.tfds import data_root, is_prepared

    if arguments.place is None:
        raise ValueError("name the folder or the CSV file of the pictures by --from")
    if not arguments.name:
        raise ValueError("name the data set by --name")
    if arguments.name in NAMES:
        raise ValueError(f"{arguments.name} is a data set of its own; choose another --name")
    root = data_root(arguments.data_dir)
    if is_prepared(root / arguments.name):
        raise ValueError(f"{root / arguments.name} is there already; delete it or choose another --name")
    pictures = find_pictures(arguments.place)
    return partial(_work, arguments, root, pictures, classes_of(pictures))


def _work(
    arguments: Arguments,
    root: Path,
    pictures: list["Picture"],
    classes: tuple[str, ...],
    console: "Console",
) -> int:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from bnnjax.data.folder.splits import decode_all, split_pictures
    from bnnjax.data.tfds import Description
    from bnnjax.data.tfds_write import ImageSetBuilder
    from bnnjax.data.tfds_write import prepare as write

    columns = (TextColumn("pictures"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with interrupting():
            with Progress(*columns, console=console) as progress:
                advance = partial(progress.advance, progress.add_task("", total=len(pictures)))
                decoded = decode_all(pictures, arguments.size, arguments.fit, advance)
            for place, why in decoded.damaged.items():
                say(console, f"{pictures[place].path} cannot be read: {why}")
            if decoded.damaged and not arguments.skip_corrupt:
                raise WorkError(
                    f"{len(decoded.damaged)} of {len(pictures)} files cannot be read, as listed; "
                    "mend or remove them, or leave them out by --skip-corrupt"
                )
            splits = split_pictures(pictures, classes, decoded, arguments.test_share, arguments.seed)
            shape = splits["train"].images.shape[1:]
            text = f"prepared by bnnjax from {arguments.place}"
            described = Description(arguments.name, VERSION, classes, text, shape)
            write(ImageSetBuilder(described, lambda _: splits, root))
    except ValueError as error:
        raise WorkError(str(error)) from error
    except KeyboardInterrupt:
        raise WorkError("stopped; nothing was written", INTERRUPTED) from None
    counts = ", ".join(f"{len(split.labels):,} {name}" for name, split in splits.items())
    left_out = f", {count_text(len(decoded.damaged), 'file')} left out" if decoded.damaged else ""
    say(
        console,
        f"prepared images of {'x'.join(map(str, shape))} in {len(classes)} classes: {counts}{left_out}",
    )
    where = f" --data-dir {arguments.data_dir}" if arguments.data_dir else ""
    say(console, f"train on them by bnnjax train {arguments.name}{where}, perhaps with --geometry crop+flip")
    return 0


FOLDER = Experiment(
    description="""Prepares your own pictures as a data set of small images.

    bnnjax prepare folder --from DIR --name NAME
    bnnjax train NAME

DIR has a folder for each class with its pictures, of any size and format; or folders train, val and test
that have such folders.  Without test a fifth of the pictures is chosen for it, without val a tenth of the
others is held out when a network is trained.  DIR may also be a CSV file with the columns path (relative to
it) and label, and perhaps split.  Pictures are resized to --size; if all are grey, so are the images.
""",
    defaults=Arguments(),
    prepare=prepare,
)
