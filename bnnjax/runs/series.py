"""A series of runs, one after the other; each resumes where it stopped."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from rich.console import Console

from bnnjax.config.resolved import ResolvedConfig
from bnnjax.data.load import load
from bnnjax.runs import directory
from bnnjax.runs.plan import prepare
from bnnjax.runs.train import execute
from bnnjax.runtime.console import complain, say
from bnnjax.runtime.exit_codes import STOPPED_BY_LOSS, WRONG_INPUT
from bnnjax.runtime.files import read_json
from bnnjax.runtime.lock import hold


class Run(NamedTuple):
    """One run of a series."""

    name: str  # of its row, which its runs with other seeds share
    config: ResolvedConfig

    @property
    def place(self) -> Path:
        """Its run directory."""
        return self.config.workdir

    @property
    def summary(self) -> dict[str, Any] | None:
        """What came of it; None if it is not finished."""
        file = self.place / "summary.json"
        return read_json(file) if file.exists() else None


def check_runs(runs: Sequence[Run]) -> None:
    """Checks all that can be wrong with the runs before the first.

    Raises:
      ValueError: with one sentence that says what is wrong.
    """
    known = []
    for run in runs:
        with hold(run.place):
            if directory.claim(run.place, run.config):
                known.append(run.place)
    dataset = load(runs[0].config)
    for place in known:
        directory.check_digest(place, dataset.digest)


def execute_runs(runs: Sequence[Run], console: Console, after: Callable[[set[Path]], None]) -> int | None:
    """Executes the runs that are not finished.

    Args:
      runs: in their order.
      console: for their output.
      after: is called before the first and after each, with the places of those whose loss stopped being
        finite, which stop no others.

    Returns:
      None if nothing is left to do, or else the exit code of the run that stopped the others.
    """
    diverged: set[Path] = set()
    after(diverged)
    for number, run in enumerate(runs, start=1):
        if run.summary is None:
            text = f"\nrun {number} of {len(runs)}: {run.name}, seed {run.config.seed}"
            say(console, text)
            try:
                plan = prepare(run.config)
            except ValueError as error:  # since all were checked, something has changed
                complain(str(error))
                return WRONG_INPUT
            code = execute(plan, console)
            if code == STOPPED_BY_LOSS:
                diverged.add(run.place)
            elif run.summary is None:  # stopped by a signal or refused, which it has told
                return code
            jax.clear_caches()
            after(diverged)
    return None
