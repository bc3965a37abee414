"""Importing the report module is light and needs no other part of bnnjax."""

import ast
from pathlib import Path

from processes import Run

import bnnjax.report

FOLDER = Path(bnnjax.report.__file__).parent


def test_import_is_light(run: Run) -> None:
    code = (
        "import sys, bnnjax.report; "
        "print(*{'matplotlib', 'rich', 'tensorboardX', 'jax', 'flax', 'PIL'} & set(sys.modules))"
    )
    done = run("-c", code)
    assert (done.returncode, done.stdout.split()) == (0, [])


def test_report_imports_no_other_part_of_bnnjax() -> None:
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] not in ("jax", "flax", "optax"), path
                assert not name.startswith("bnnjax") or name.startswith("bnnjax.report"), path
