"""The example notebook runs from its first cell to its last."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pytest
from runs import ROOT

NOTEBOOK = ROOT / "experiments" / "network.ipynb"


@pytest.mark.slow
def test_the_notebook_runs(
    digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a small network on the digits in place of the README's, which takes minutes to train."""
    place = tmp_path / "runs" / "digits-resnet20-irnet-l1inf-seed0"
    shutil.copytree(ROOT / "tests" / "old_run", place)
    (tmp_path / "data").symlink_to(digits_dir)  # where that run has read them
    monkeypatch.setenv("TFDS_DATA_DIR", str(digits_dir))
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    notebook = json.loads(NOTEBOOK.read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells)
    names: dict[str, Any] = {}
    for cell in cells:
        exec("".join(cell["source"]), names)
    assert names["network"].test_accuracy == 17.5
    told = re.fullmatch(r"(.*) % of 360 test images are .*\n", capsys.readouterr().out)
    assert told is not None
    assert float(told[1]) == pytest.approx(17.5, abs=0.3)  # at most one image, as versions of jax differ
    lines = names["axis"].get_lines()
    assert [len(line.get_ydata()) for line in lines] == [5, 5, 5]
    assert all(0 <= value <= 100 for line in lines for value in line.get_ydata())
    plt.close("all")
