"""The cost of constraints: the records, the table and the command."""

import json
from pathlib import Path

import pytest
from processes import Run
from rich.console import Console
from runs import ROOT

from bnnjax.benchmarks.constraints import CONSTRAINTS, overhead_table, prepare_overhead
from bnnjax.benchmarks.steps import Case, median_ratio, time_cases, time_in_turn

SCRIPT = ROOT / "experiments" / "overhead.py"
TINY = Case(model="resnet_tiny", batch=4, kernels="xla")


def test_functions_take_turns_and_warm_ups_do_not_count() -> None:
    calls: list[str] = []
    times = time_in_turn([lambda: calls.append("a"), lambda: calls.append("b")], repeats=2)
    assert [len(each) for each in times] == [2, 2]
    assert calls == ["a", "b"] * 5


def test_the_ratio_is_taken_pair_by_pair() -> None:
    assert median_ratio([2.0, 20.0, 9.0], [1.0, 10.0, 3.0]) == 2.0


@pytest.mark.slow
@pytest.mark.timeout(300)  # nine programs compiled as users compile them
def test_every_constraint_is_measured_and_its_operations_are_counted(tmp_path: Path) -> None:
    console = Console(width=300)
    with console.capture() as capture:
        assert prepare_overhead(TINY, (40, 8), 2, tmp_path)(console) == 0
    assert capture.get().strip() == (tmp_path / "overhead.md").read_text().strip()
    records = {
        record["constraint"]: record for record in json.loads((tmp_path / "overhead.json").read_text())
    }
    assert list(records) == list(CONSTRAINTS)
    for record in records.values():
        assert record["train_seconds"] == pytest.approx(10 * record["train_ms"] / 1e3)
        assert record["test_seconds"] == pytest.approx(2 * record["test_ms"] / 1e3)
    assert records["none"]["train_to_none"] == records["lcr (repo, as published)"]["train_to_lcr"] == 1
    # The second pass is there: the compiler has not made one of the two.
    flops = {name: record["flops"] for name, record in records.items()}
    assert flops["lcr (repo, as published)"] > 1.3 * flops["lcr (repo, one pass)"]
    assert flops["lcr (repo, one pass)"] > 1.1 * flops["none"]
    assert flops["none"] < flops["l1inf"] < 1.05 * flops["none"]


def test_the_table_tells_what_is_extra() -> None:
    record = {
        **{f"{kind}_seconds": 61.0 for kind in ("train", "test")},
        **{f"{kind}_to_{other}": 1.5 for kind in ("train", "test", "predict") for other in ("lcr", "none")},
    }
    records = [
        {"constraint": "l1inf", "flops": 3.5e9, "bytes": None, **record},
        {"constraint": "none", "flops": 3e9, "bytes": 1e6, **record},
    ]
    first = [cell.strip() for cell in overhead_table(records).splitlines()[2].strip("|").split("|")]
    assert first == ["l1inf", "1 min 01 s", "1.500", "1.500", "1 min 01 s", *["1.500"] * 3, "0.500", "–"]


@pytest.mark.slow
def test_the_benchmark_has_a_record_a_case_with_the_ratio_to_the_first() -> None:
    records = list(time_cases([TINY, Case(model="resnet_tiny", batch=4, constraint="l1inf")], repeats=2))
    assert [record["constraint"] for record in records] == ["none", "l1inf"]
    assert records[0]["train_ratio_to_first"] == 1
    for record in records:
        assert 0 < record["train_ms"]["min"] <= record["train_ms"]["median"] <= record["train_ms"]["max"]


def test_wrong_input_is_told_in_one_sentence(run: Run, tmp_path: Path) -> None:
    result = run(SCRIPT, "--repeats=0", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "overhead.py: repeats must be at least 1; got 0\n"
    place = tmp_path / "file"
    place.write_text("")
    with pytest.raises(ValueError, match=f"work directory {place} is a file"):
        prepare_overhead(TINY, (10, 10), 1, place)
