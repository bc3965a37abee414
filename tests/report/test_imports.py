"""Importing the report modules is light; tests/test_layers.py has what they may import."""

from processes import Run, modules_loaded

IMPORT_ALL = """
import importlib, pkgutil, bnnjax.report
for module in pkgutil.walk_packages(bnnjax.report.__path__, "bnnjax.report."):
    importlib.import_module(module.name)
assert "bnnjax.report.run.plots" in __import__("sys").modules
"""


def test_imports_are_light(run: Run) -> None:
    names = "matplotlib rich tensorboardX jax flax PIL"
    assert modules_loaded(run, IMPORT_ALL, names) == []
