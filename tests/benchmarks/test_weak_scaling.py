"""Weak scaling, of a script that reports how it was started."""

import json
import sys
from pathlib import Path

import pytest

from bnnjax.benchmarks.processes import weak_scaling

SCRIPT = """
import json, os, sys
devices = int(os.environ["XLA_FLAGS"].split("=")[-1])
batch = int(sys.argv[sys.argv.index("--batches") + 1])
print(json.dumps({"arguments": sys.argv[1:], "flags": os.environ["XLA_FLAGS"], "devices": devices,
                  "train_images_per_second": 80.0 / devices}))
"""


def test_each_number_of_devices_has_its_process_and_as_many_images_a_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=3 --xla_other=1")
    (tmp_path / "script.py").write_text(SCRIPT)
    program = [sys.executable, str(tmp_path / "script.py")]
    records = list(weak_scaling([*program, "--models", "x"], 32, (1, 2, 8)))
    assert [record["devices"] for record in records] == [1, 2, 8]
    for record in records:
        assert record["arguments"] == ["--models", "x", "--batches", str(32 * record["devices"])]
        devices = record["devices"]
        assert record["flags"] == f"--xla_other=1 --xla_force_host_platform_device_count={devices}"
        assert record["images_per_device"] == 32
    assert [record["efficiency"] for record in records] == [1.0, 0.5, 0.125]
    json.dumps(records)


def test_a_case_that_fails_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("print('before'); raise SystemExit('no memory')")
    with pytest.raises(ValueError, match=r"^on 2 devices it failed: no memory$"):
        list(weak_scaling([sys.executable, str(tmp_path / "script.py")], 32, (2,)))
