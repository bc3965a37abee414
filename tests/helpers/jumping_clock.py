"""The tiny experiment under a clock that jumps: tests start it as a process.

JUMP is the seconds by which it goes wrong, and every 50th time that it is asked it changes its mind.
"""

import os
import runpy
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

JUMP, asked = int(os.environ["JUMP"]), count()


def jumping(clock: Callable[[], Any], unit: int) -> Callable[[], Any]:
    """Returns a clock that is right for 50 questions, wrong for the next 50, and so on."""
    return lambda: clock() + unit * JUMP * (next(asked) // 50 % 2)


time.time, time.time_ns = jumping(time.time, 1), jumping(time.time_ns, 10**9)
runpy.run_path(str(Path(__file__).with_name("tiny_experiment.py")), run_name="__main__")
