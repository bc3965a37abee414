"""The benchmarks as commands: what they reject and print, and the comparison with a yardstick."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import Run
from runs import ROOT

from bnnjax.benchmarks.steps import Case
from bnnjax.benchmarks.yardstick import compare_with, milliseconds_of
from bnnjax.cli.benchmark import EXPERIMENTS

STEPS, INPUT = (ROOT / "experiments" / name for name in ("benchmark.py", "benchmark_input.py"))


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("steps", {"models": ()}, "models must be at least one; got nothing"),
        ("steps", {"batches": (128, 0)}, "batches must be at least 1; got 0"),
        ("steps", {"repeats": 0}, "repeats must be at least 1; got 0"),
        ("steps", {"weak_scaling": (1, -1)}, "weak_scaling must be at least 1; got -1"),
        ("steps", {"memory": float("nan")}, "memory must be positive and finite; got nan"),
        ("steps", {"yardstick": " "}, "yardstick must be a command; got ' '"),
        ("steps", {"yardstick": "'open"}, "No closing quotation"),
        ("steps", {"starts": True, "noise": True}, "starts and noise exclude each other: name one"),
        ("steps", {"constraints": ("l1",)}, "unknown constraint 'l1'; allowed are none, l1inf, "),
        ("steps", {"memory": 8, "constraints": ("lcr",)}, "constraints without another network; got lcr"),
        ("input", {"repeats": 0}, "repeats must be at least 1; got 0"),
        ("input", {"workers": -1}, "workers must be 0 or positive; got -1"),
        ("input", {"data_dir": Path("nowhere")}, "the data directory nowhere does not exist"),
    ],
)
def test_wrong_input_is_told_before_anything_is_compiled(
    name: str, settings: dict[str, Any], sentence: str
) -> None:
    benchmark = EXPERIMENTS[name]
    with pytest.raises(ValueError, match=sentence):
        benchmark.prepare(type(benchmark.defaults)(**settings))


@pytest.mark.parametrize("script", [STEPS, INPUT])
def test_the_command_line_is_refused_in_one_sentence(run: Run, script: Path) -> None:
    done = run(script, "--repeats", 0)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{script.name}: repeats must be at least 1; got 0\n"


@pytest.mark.slow
def test_a_number_of_devices_is_timed_in_a_process_of_its_own(run: Run) -> None:
    case = ("--models", "resnet_tiny", "--constraints", "none", "--batches", 2, "--repeats", 1)
    done = run(STEPS, *case, "--weak-scaling", 2)
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads(done.stdout)
    assert (record["devices"], record["batch"], record["images_per_device"]) == (2, 4, 2)
    assert record["efficiency"] == 1
    assert record["train_ms"]["min"] > 0


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.slow
def test_a_yardstick_is_timed_in_turn_with_ours() -> None:
    theirs = python("print('warming up'); print('{\"ms_per_step\": 2.5}')")
    record = compare_with(theirs, Case(model="resnet_tiny", batch=2), rounds=2, steps=1)
    assert record["theirs_ms"] == [2.5, 2.5]
    assert len(record["ours_ms"]) == 2
    ratios = sorted(ours / 2.5 for ours in record["ours_ms"])
    assert [record["ratio_min"], record["ratio_max"]] == pytest.approx(ratios, abs=0.05)


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["no-such-command"], "the yardstick no-such-command cannot be run: No such file or directory"),
        (python("raise SystemExit('no torch')"), "failed: no torch"),
        (python("raise SystemExit(3)"), "failed: it said nothing"),
        (python("print('fast')"), r"must end with a JSON line with ms_per_step; got 'fast\\n'"),
        (python("print([1])"), r"must end with a JSON line with ms_per_step; got '\[1\]\\n'"),
        (python("print('{}')"), "must end with a JSON line with ms_per_step; got "),
        (python(""), "must end with a JSON line with ms_per_step; got ''"),
    ],
)
def test_a_yardstick_that_gives_no_time_is_told(command: list[str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        milliseconds_of(command)
