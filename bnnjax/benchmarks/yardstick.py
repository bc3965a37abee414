"""Timing of our steps and another program's (a yardstick) in turn."""

import json
import shlex
import statistics
import subprocess
from collections.abc import Sequence
from typing import Any

import jax

from bnnjax.benchmarks.steps import WARM_UP, Case, compile_case, seconds


def milliseconds_of(command: Sequence[str]) -> float:
    """Runs a command whose last line is JSON with `ms_per_step`, and returns that number.

    Raises:
      ValueError: if it cannot be run, fails, or ends with something else.
    """
    what = f"the yardstick {shlex.join(command)}"
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ValueError(f"{what} cannot be run: {error.strerror}") from error
    if done.returncode:
        raise ValueError(f"{what} failed: {last_line(done.stderr)}")
    try:
        return float(json.loads(last_line(done.stdout))["ms_per_step"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{what} must end with a JSON line with ms_per_step; got {done.stdout!r}") from error


def last_line(text: str) -> str:
    """Returns the last line of a text, or a note that it is empty."""
    return (text.strip() or "it said nothing").splitlines()[-1]


def compare_with(command: Sequence[str], case: Case, rounds: int, steps: int) -> dict[str, Any]:
    """Times a case and another program in turn, and returns the ratio ours / theirs of each round.

    Args:
      command: prints a JSON line with `ms_per_step`.
      case: ours; a round takes the median of `steps` training steps.
      rounds: of both.
      steps: of ours in a round.

    Raises:
      ValueError: if the command fails or prints something else.
    """
    ours = compile_case(case)
    for _ in range(WARM_UP):
        ours.train()
    mine, other = [], []
    for _ in range(rounds):
        other.append(milliseconds_of(command))
        mine.append(1e3 * statistics.median(seconds(ours.train) for _ in range(steps)))
    ratios = [a / b for a, b in zip(mine, other, strict=True)]
    return {
        **vars(case),
        "jax": jax.__version__,
        "ours_ms": [round(value, 1) for value in mine],
        "theirs_ms": [round(value, 1) for value in other],
        "ratio_median": round(statistics.median(ratios), 3),
        "ratio_min": round(min(ratios), 3),
        "ratio_max": round(max(ratios), 3),
    }
