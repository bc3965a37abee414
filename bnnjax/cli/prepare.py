"""`bnnjax prepare`: prepares data sets that cannot be downloaded, from their files."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import tyro

from bnnjax.cli.main import Experiment, Work, WorkError, run_one_of
from bnnjax.cli.prepare_folder import FOLDER
from bnnjax.runtime.console import say
from bnnjax.runtime.exit_codes import INTERRUPTED
from bnnjax.runtime.signals import interrupting

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from bnnjax.data.imagenet.sources import Labels


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The directories of the official files and of the data set."""

    # Directory of the official files.
    place: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    # Directory of data sets; by default TFDS's.
    data_dir: Path | None = None
    # Only the synsets in this file, one per line; their numbers of images are not checked.
    synsets: Path | None = None
    # Number of processes; by default that of CPU cores.
    jobs: int | None = None

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise ValueError(f"--jobs is {self.jobs}: allowed is 1 or more")


def prepare(arguments: Arguments) -> Work:
    """Checks the arguments and returns the work."""
    from bnnjax.data.imagenet.sources import official_labels

    if arguments.place is None:
        raise ValueError("name the directory of the official files by --from")
    labels = official_labels(
        None if arguments.synsets is None else arguments.synsets.read_text("utf-8-sig").split()
    )
    return partial(_work, arguments.place, arguments, labels)


def _begin(progress: "Progress", task: "TaskID", images: int) -> Callable[[int], None]:
    progress.update(task, description="images", total=images)
    return partial(progress.advance, task)


def _work(place: Path, arguments: Arguments, labels: "Labels", console: "Console") -> int:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from bnnjax.data.imagenet.write import prepare_imagenet
    from bnnjax.data.tfds import data_root

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    jobs = arguments.jobs or os.cpu_count() or 1
    try:
        with interrupting(), Progress(*columns, console=console) as progress:
            begins = partial(_begin, progress, progress.add_task("looking for images", total=None))
            root = data_root(arguments.data_dir)
            directory, counts = prepare_imagenet(place, root, labels, jobs, begins)
    except ValueError as error:
        raise WorkError(str(error)) from error
    except KeyboardInterrupt:
        raise WorkError("stopped; rerun the command to resume", INTERRUPTED) from None
    found = " and ".join(f"{count:,} {split} images" for split, count in counts.items())
    synsets = len(labels.synsets)
    unchecked = f" of {synsets} synsets, not counted against any list" if arguments.synsets else ""
    say(console, f"prepared {found}{unchecked} in {directory}")
    return 0


EXPERIMENTS: dict[str, Experiment[Any]] = {
    "imagenet2012": Experiment(
        description="""Prepares ImageNet from its official files.

    bnnjax prepare imagenet2012 --from DIR --data-dir DATA

DIR holds ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, or the folders train/nXXXXXXXX and val.
Rerun the command to resume.  It takes as much disk space as the tar files, which it does not change.
""",
        defaults=Arguments(),
        prepare=prepare,
    ),
    "folder": FOLDER,
}


def run(program: str, arguments: Sequence[str]) -> NoReturn:
    """Prepares the data set that the first argument names."""
    run_one_of(EXPERIMENTS, "data set", program, arguments)
