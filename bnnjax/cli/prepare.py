"""Prepares a data set that cannot be downloaded from the files that its owners give out.

    python -m bnnjax.cli.prepare imagenet2012 --from DIR --data-dir DIR

DIR holds ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, or the folders train/nXXXXXXXX and val.
Stopped, the same command goes on.  It takes as much disk as the tar files, which it leaves as they are.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bnnjax.data.tfds import data_root

WRONG_INPUT, INTERRUPTED = 2, 130


class Parser(argparse.ArgumentParser):
    """Complains in one sentence."""

    def error(self, message: str) -> NoReturn:
        fail(message)


def fail(sentence: str) -> NoReturn:
    """Prints one sentence to stderr and exits with code 2."""
    print(f"prepare: {' '.join(sentence.splitlines())}", file=sys.stderr)
    sys.exit(WRONG_INPUT)


def make_parser() -> Parser:
    """Returns the parser of the command line."""
    about, _, more = (__doc__ or "").partition("\n")
    parser = Parser(
        prog="python -m bnnjax.cli.prepare",
        description=about,
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", choices=["imagenet2012"])
    parser.add_argument(
        "--from", dest="place", type=Path, required=True, metavar="DIR", help="where the files lie"
    )
    parser.add_argument("--data-dir", type=Path, help="where data sets lie; left out: TFDS's own place")
    parser.add_argument(
        "--synsets",
        type=Path,
        metavar="FILE",
        help="take these synsets alone, one a line; their numbers of images are not checked",
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: the CPU cores)"
    )
    return parser


def main(arguments: list[str]) -> None:
    """Prepares what the command line names.

    Exit codes: 0 done, 2 wrong input, 130 interrupted by the keyboard.
    """
    given = make_parser().parse_args(arguments)
    if given.jobs < 1:
        fail(f"--jobs is {given.jobs}: allowed is 1 or more")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        from bnnjax.data.imagenet.sources import official_labels
        from bnnjax.data.imagenet.write import prepare_imagenet

        labels = official_labels(None if given.synsets is None else given.synsets.read_text().split())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("looking for images", total=None)

            def begins(images: int) -> Callable[[int], None]:
                progress.update(task, description="images", total=images)
                return lambda done: progress.advance(task, done)

            root = data_root(given.data_dir)
            directory, counts = prepare_imagenet(given.place, root, labels, given.jobs, begins)
    except (ValueError, OSError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        print("prepare: stopped; the same command goes on", file=sys.stderr)
        sys.exit(INTERRUPTED)
    found = " and ".join(f"{count:,} {split} images" for split, count in counts.items())
    unchecked = (
        "" if given.synsets is None else f" of {len(labels.synsets)} synsets, not counted against any list"
    )
    console.print(f"prepared {found}{unchecked} in {directory}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main(sys.argv[1:])
