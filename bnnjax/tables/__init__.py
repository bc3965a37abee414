"""The comparison tables of the literature, rerun under one recipe."""

from bnnjax.cli import Work
from bnnjax.tables.config import TableConfig
from bnnjax.tables.rows import TABLES, Row, select

__all__ = ["TABLES", "Row", "TableConfig", "prepare", "select"]


def prepare(config: TableConfig) -> Work:
    """Checks a table's runs and returns the work of filling it."""
    # Here, so that --help does not wait for JAX.
    from bnnjax.tables.study import prepare_table

    return prepare_table(config)
