"""Importing the report module is light; tests/test_layers.py has what it may import."""

from processes import Run, modules_loaded


def test_import_is_light(run: Run) -> None:
    names = "matplotlib rich tensorboardX jax flax PIL"
    assert modules_loaded(run, "import bnnjax.report", names) == []
