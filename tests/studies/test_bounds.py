"""The bounds study of two small trained networks: its results, and what it rejects."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tiny_experiment
from PIL import Image
from processes import Run
from rich.console import Console
from runs import ROOT

import bnnjax.runs.train
from bnnjax.config.constraints import L1InfConfig
from bnnjax.config.training import Config
from bnnjax.runs.plan import prepare
from bnnjax.runs.train import execute
from bnnjax.studies import bounds

BOUNDS = ROOT / "experiments" / "bounds.py"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A run without a constraint and one with a target bound of e^6."""
    folder = tmp_path_factory.mktemp("runs")
    hard = {"constraint": "l1inf", "l1inf": L1InfConfig(form="hard", bound=math.e**6)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bnnjax.runs.plan, "load", tiny_experiment.load)
        for name, constraint in (("free", {}), ("hard", hard)):
            config = Config(
                dataset="digits",
                model="resnet_tiny",
                batch_size=32,
                epochs=1,
                learning_rate=0.05,
                train_examples=64,
                noise="none",
                workdir=folder / name,
                **constraint,
            )
            assert execute(prepare(config), Console(quiet=True)) == 0
    return [folder / "free", folder / "hard"]


def test_retention_estimates_are_largest_singular_values_between_neighbours() -> None:
    rng = np.random.default_rng(0)
    shapes = {"a": (5, 4, 4, 3), "c": (5, 2, 2, 6), "b": (5, 2, 2, 2)}
    inputs = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    activations = {name: (x, np.sign(x)) for name, x in inputs.items()}

    def expected(x: np.ndarray, y: np.ndarray) -> float:
        if x.shape[1] > y.shape[1]:
            x = x.reshape(5, 2, 2, 2, 2, -1).mean((2, 4))
        matrices = np.einsum("bhwi,bhwo->bio", x, y) / y.shape[1] ** 2
        return float(np.linalg.svd(matrices, compute_uv=False)[:, 0].mean())

    found = bounds.retention_estimates(("stem", "a", "c", "b", "head"), activations, iterations=200)
    assert found.keys() == {"a", "c"}
    for first, second in (("a", "c"), ("c", "b")):
        for side, name in enumerate(("inputs", "codes")):
            value = expected(activations[first][side], activations[second][side])
            assert found[first][name] == pytest.approx(value, rel=1e-4)
    assert bounds.retention_estimates(("stem", "head"), {}) == {}


@pytest.mark.slow
@pytest.mark.timeout(300)  # trains two networks and compiles gradients of their logits
def test_bounds_side_by_side(runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "load", tiny_experiment.load)
    console = Console(width=200)
    with console.capture() as capture:
        assert bounds.prepare_study(runs, tmp_path / "out", None, images=4, steps=2)(console) == 0
    text = capture.get()
    for words in (
        "Residual blocks",
        "stage2_block1/shortcut",
        "moved, 0.01",
        "hard",
    ):
        assert words in text
    records = json.loads((tmp_path / "out" / "bounds.json").read_text())
    assert [record["constraint"] for record in records] == ["none", "l1inf"]
    for record, run in zip(records, runs, strict=True):
        summary = json.loads((run / "summary.json").read_text())
        assert record["log_bound"] == pytest.approx(summary["log_lipschitz_bound"], abs=1e-4)
        assert record["units"] == json.loads((run / "units.json").read_text())
        assert record["log_spectral_bound"] > record["log_bound"]
        assert all(0 < unit["tightness"] <= 1 + 1e-6 for unit in record["units"])  # of trained kernels
        assert -5 < max(record["log_empirical"].values()) <= record["log_bound"] + 1e-3
        assert [block["block"] for block in record["blocks"]] == [
            "stage1_block1/conv1",
            "stage1_block1/conv2",
            "stage2_block1/conv1",
            "stage2_block1/conv2",
        ]
        assert list(record["retention"]) == [
            "stage1_block1/conv1",
            "stage1_block1/conv2",
            "stage2_block1/conv1",
        ]
        logs = [math.log(each["inputs"]) for each in record["retention"].values()]
        assert record["log_retention"] == pytest.approx(sum(logs))
        # The chain is stem, blocks, head: the network's bound is their product.
        ends = [math.log(unit["l1inf"]) for unit in record["units"] if unit["unit"] in ("stem", "head")]
        whole = sum(ends) + sum(block["log_block"] for block in record["blocks"])
        assert whole == pytest.approx(record["log_bound"], abs=1e-4)
    assert records[1]["log_bound"] <= 6 + 1e-3 < records[0]["log_bound"]
    pixels = np.asarray(Image.open(tmp_path / "out" / "bounds.png").convert("RGB"))
    assert pixels.shape[1] == 1600
    assert (pixels != pixels[0, 0]).any(axis=-1).mean() > 0.005


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "name at least one run directory"),
        (["nowhere"], "nowhere is not the directory of a run: it has no config.json"),
        (["nowhere", f"--workdir={BOUNDS}"], f"work directory {BOUNDS} is a file; choose another --workdir"),
        (["nowhere", "--images=0"], "images must be at least 1; got 0"),
    ],
)
def test_wrong_input_is_told_in_one_sentence(
    arguments: list[str], sentence: str, run: Run, tmp_path: Path
) -> None:
    result = run(BOUNDS, *arguments, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"bounds.py: {sentence}\n"
    assert list(tmp_path.iterdir()) == []
