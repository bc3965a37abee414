"""Files that are read back hold arrays and JSON, and none of it is ever executed."""

import ast
import json
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

import bnnjax
from bnnjax.data import cache
from bnnjax.data.dataset import Split
from bnnjax.data.tfds import Stored

pytestmark = pytest.mark.faults

SOURCES = sorted(Path(bnnjax.__file__).parent.rglob("*.py"))
MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "torch",
    "runpy",
}
CALLS = {"eval", "exec", "compile", "__import__"}


def executors(source: str) -> list[str]:
    """Calls of a module that could execute what it reads."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        found += [name for name in names if name.split(".")[0] in MODULES]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
            found.append(node.func.id)
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            found += [] if getattr(node.value, "value", None) is False else ["allow_pickle"]
    return found


def test_nothing_in_the_package_runs_what_it_reads() -> None:
    assert executors("import pickle\nfrom torch import load\neval('1')\nf(allow_pickle=x)") == [
        "pickle", "torch", "eval", "allow_pickle",
    ]  # fmt: skip
    assert len(SOURCES) > 100
    assert {path: found for path in SOURCES if (found := executors(path.read_text("utf-8")))} == {}


def test_a_checkpoint_is_arrays_and_json(reference: Path) -> None:
    checkpoint = max((reference / "checkpoints").iterdir(), key=lambda path: int(path.name))
    kinds: dict[str, list[str]] = {"array": [], "JSON": [], "mark": []}
    for path in (path for path in checkpoint.rglob("*") if path.is_file()):
        name = str(path.relative_to(checkpoint))
        if path.name == "manifest.ocdbt" or path.parent.name == "d":  # TensorStore's key-value files
            kinds["array"].append(name)
        elif path.name == "commit_success.txt":
            assert path.read_text().startswith("Checkpoint commit was successful"), path.read_text()
            kinds["mark"].append(name)
        else:
            json.loads(path.read_text("utf-8"))
            kinds["JSON"].append(name)
    assert {"state/_METADATA", "sha256.json", "meta/metadata"} <= set(kinds["JSON"])
    assert kinds["array"]
    # TensorStore's files hold zarr arrays of numbers.
    leaves = jax.tree.leaves(ocp.StandardCheckpointer().restore(checkpoint / "state"))
    assert len(leaves) > 50
    assert {np.asarray(leaf).dtype.kind for leaf in leaves} <= set("fiub")


def test_a_decoded_data_set_is_arrays(tmp_path: Path) -> None:
    split = Split(np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2, np.int32))
    cache.store(tmp_path / "set.npz", Stored("name", ("a", "b"), split, split))
    with np.load(tmp_path / "set.npz", allow_pickle=False) as arrays:
        assert {arrays[name].dtype.kind for name in arrays.files} == set("uiU")
