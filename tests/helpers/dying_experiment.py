"""The tiny experiment, which kills itself in its second save: tests start it as a process.

DIES says when: "begun" once Orbax has made its temporary directory, "written" before that is renamed.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from runs import STEPS
from tiny_experiment import DEFAULTS, stand_in

from bnnjax.cli.main import main
from bnnjax.cli.train import prepare_run


def is_temporary(path: Path) -> bool:
    """Whether this is the directory that Orbax writes the second checkpoint into."""
    return path.parent.name == "checkpoints" and path.name.startswith(f"{2 * STEPS}.")


def die(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in ("os.mkdir", "os.rename"):
        return
    path, dies = Path(os.fsdecode(arguments[0])), os.environ["DIES"]
    has_begun = dies == "begun" and event == "os.mkdir" and is_temporary(path.parent)
    if has_begun or (dies == "written" and event == "os.rename" and is_temporary(path)):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.addaudithook(die)
    stand_in()
    main(DEFAULTS, __doc__, prepare_run)
