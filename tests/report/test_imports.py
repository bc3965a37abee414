"""Importing the report module is light and needs no other part of bnnjax."""

import ast
import subprocess
import sys
from pathlib import Path

import bnnjax.report

FOLDER = Path(bnnjax.report.__file__).parent


def test_import_is_light() -> None:
    code = (
        "import sys, bnnjax.report; "
        "print(*{'matplotlib', 'rich', 'tensorboardX', 'jax', 'flax', 'PIL'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=FOLDER.parents[1]
    )
    assert result.stdout.split() == []


def test_report_imports_no_other_part_of_bnnjax() -> None:
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] not in ("jax", "flax", "optax"), path
                assert not name.startswith("bnnjax") or name.startswith("bnnjax.report"), path
