"""Importing the report module is light and needs no other part of bnnjax."""

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
