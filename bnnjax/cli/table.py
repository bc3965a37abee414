"""The comparison tables of the literature, rerun under one recipe."""

from bnnjax.cli.main import Work
from bnnjax.config.table import TableConfig


def prepare(config: TableConfig) -> Work:
    """Checks a table's runs and returns the work of filling it."""
    # Here, so that --help does not wait for JAX.
    from bnnjax.studies.tables import prepare_table

    return prepare_table(config)
