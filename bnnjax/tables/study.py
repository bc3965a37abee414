"""Runs the rows of a comparison table, one after the other, and writes what came of them."""

import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from rich.console import Console

from bnnjax import report, workdir
from bnnjax.config import Config
from bnnjax.run import STOPPED_BY_LOSS, execute, load, prepare, resolve
from bnnjax.tables.config import TableConfig
from bnnjax.tables.rows import TABLES, Row, select


class Run(NamedTuple):
    """One row at one seed."""

    row: Row
    config: Config  # resolved

    @property
    def place(self) -> Path:
        """Its run directory."""
        assert self.config.workdir is not None
        return self.config.workdir

    @property
    def summary(self) -> dict[str, Any] | None:
        """What came of it; None if it is not finished."""
        file = self.place / "summary.json"
        return report.read_json(file) if file.exists() else None


def table_runs(config: TableConfig, place: Path) -> list[Run]:
    """Returns the runs of a table, all rows with the first seed, then all with the next.

    Raises:
      ValueError: for a row that is not there, or that the data set's settings rule out.
    """
    stem = "_imagenet" if config.dataset == "imagenet2012" else ""

    def run(row: Row, seed: int) -> Run:
        return Run(
            row,
            resolve(
                config.run(
                    method=row.method,
                    wbits=row.wbits,
                    abits=row.abits,
                    model=row.topology + stem,
                    structure=row.structure,
                    seed=seed,
                    workdir=place / "runs" / f"{row.name}-seed{seed}",
                )
            ),
        )

    rows = select(TABLES[config.table], config.rows)
    return [run(row, seed) for seed in range(config.seeds) for row in rows]


def prepare_table(config: TableConfig) -> Callable[[Console], int]:
    """Checks all that can be wrong with a table's runs before the first, and returns the work.

    Raises:
      ValueError: with one sentence that says what is wrong.
    """
    place = config.workdir or Path(
        "tables",
        f"{config.table}-{config.dataset.strip('/').replace('/', '-')}-{config.constraint.replace(',', '+')}",
    )
    runs = table_runs(config, place)
    for run in runs:
        workdir.claim(run.place, run.config)
    load(runs[0].config)
    return partial(fill_table, place, config, runs)


def fill_table(place: Path, config: TableConfig, runs: Sequence[Run], console: Console) -> int:
    """Executes the runs that are not finished, and writes the table anew after each; returns the exit code.

    0: finished, or stopped by a signal with everything saved; the same command goes on.  Else as `execute`,
    but a run whose loss stops being finite is counted in its row and does not stop the others.
    """

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False, highlight=False)

    diverged: set[Path] = set()
    for number, run in enumerate(runs, start=1):
        if run.summary is None:
            say(f"\nrun {number} of {len(runs)}: {run.row.name}, seed {run.config.seed}")
            code = execute(prepare(run.config), console)
            if code == STOPPED_BY_LOSS:
                diverged.add(run.place)
            elif run.summary is None:  # stopped by a signal or refused, which it has told
                return code
            jax.clear_caches()
        write_table(place, config, runs, diverged)
    say("\n" + report.comparison_table(table_records(config, runs, diverged)))
    say(f"table: {place / 'table.md'}, table.csv, table.tex")
    return 0


def table_records(config: TableConfig, runs: Sequence[Run], diverged: set[Path]) -> list[dict[str, Any]]:
    """Returns a record a row, as `report.comparison` describes it, in the table's order."""
    records = []
    for row in dict.fromkeys(run.row for run in runs):
        own = [run for run in runs if run.row == row]
        records.append(
            {
                **row._asdict(),
                "name": row.name,
                "published_on": TABLES[config.table].dataset,
                "summaries": [summary for run in own if (summary := run.summary) is not None],
                "diverged": sum(run.place in diverged for run in own),
            }
        )
    return records


def write_table(place: Path, config: TableConfig, runs: Sequence[Run], diverged: set[Path]) -> None:
    """Writes table.md, table.csv and table.tex of what is finished."""
    records = table_records(config, runs, diverged)
    title = f"{config.table} on {config.dataset}, constraint {config.constraint}"
    command = shlex.join(["python", *sys.argv])
    texts = {
        "table.md": report.comparison_page(title, command, records),
        "table.csv": report.comparison_csv(records),
        "table.tex": report.comparison_latex(records),
    }
    for name, text in texts.items():
        report.write_text_atomically(place / name, text)
