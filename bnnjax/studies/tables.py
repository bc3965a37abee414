"""Reruns comparison tables: trains each row in turn, and writes the table of results."""

import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from bnnjax.config.table import TableConfig
from bnnjax.report.studies.published_table import (
    comparison_csv,
    comparison_latex,
    comparison_page,
    comparison_table,
)
from bnnjax.runs.resolve import resolve
from bnnjax.runs.series import Run, check_runs, execute_runs
from bnnjax.runtime.console import say
from bnnjax.runtime.files import write_text_atomically
from bnnjax.studies.published_rows import TABLES, Row, select


def table_runs(config: TableConfig, place: Path) -> list[Run]:
    """Returns the runs of a table: all rows with the first seed, then all with the next.

    Raises:
      ValueError: for a row that does not exist, or that the data set's settings rule out.
    """
    stem = "_imagenet" if config.dataset == "imagenet2012" else ""

    def run(row: Row, seed: int) -> Run:
        return Run(
            row.name,
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
    """Checks the settings of all of a table's runs, and returns the work.

    Raises:
      ValueError: with one sentence that says what is wrong.
    """
    place = config.workdir or Path(
        "tables",
        f"{config.table}-{config.dataset.strip('/').replace('/', '-')}-{config.constraint.replace(',', '+')}",
    )
    runs = table_runs(config, place)
    check_runs(runs)
    return partial(fill_table, place, config, runs)


def fill_table(place: Path, config: TableConfig, runs: Sequence[Run], console: Console) -> int:
    """Executes the unfinished runs, and rewrites the table after each; returns the exit code.

    0: finished, or stopped by a signal with everything saved.  Else as `execute`,
    but a run whose loss stops being finite is counted in its row and does not stop the others.
    """
    records: list[dict[str, Any]] = []

    def write(diverged: set[Path]) -> None:
        nonlocal records
        records = table_records(config, runs, diverged)
        write_table(place, config, records)

    code = execute_runs(runs, console, write)
    if code is not None:
        return code
    for text in (
        "\n" + comparison_table(records),
        f"table: {place / 'table.md'}, table.csv, table.tex",
    ):
        say(console, text)
    return 0


def table_records(config: TableConfig, runs: Sequence[Run], diverged: set[Path]) -> list[dict[str, Any]]:
    """Returns a record per row, as `report.studies.published_table` describes it, in the table's order."""
    table = TABLES[config.table]
    records = []
    for row in select(table, config.rows):
        own = [run for run in runs if run.name == row.name]
        records.append(
            {
                **row._asdict(),
                "name": row.name,
                "published_on": table.dataset,
                "summaries": [summary for run in own if (summary := run.summary) is not None],
                "diverged": sum(run.place in diverged for run in own),
            }
        )
    return records


def write_table(place: Path, config: TableConfig, records: Sequence[dict[str, Any]]) -> None:
    """Writes table.md, table.csv and table.tex for the finished runs."""
    title = f"{config.table} on {config.dataset}, constraint {config.constraint}"
    command = shlex.join(["python", *sys.argv])
    texts = {
        "table.md": comparison_page(title, command, records),
        "table.csv": comparison_csv(records),
        "table.tex": comparison_latex(records),
    }
    for name, text in texts.items():
        write_text_atomically(place / name, text)
