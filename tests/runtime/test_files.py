"""Files are written whole or not at all, and read back after a crash."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from bnnjax.runtime.files import (
    append_metrics,
    read_json,
    read_metrics,
    truncate_metrics,
    write_bytes_atomically,
    write_json,
    write_text_atomically,
)


def test_text_is_written_as_utf8_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "new" / "report.html"
    write_text_atomically(target, "größer\n")
    assert target.read_bytes() == "größer\n".encode()
    assert [path.name for path in target.parent.iterdir()] == ["report.html"]


def test_file_is_readable_by_whom_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_bytes_atomically(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("failing", ["replace", "fsync"])
def test_failure_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    target = tmp_path / "summary.json"
    write_json(target, {"epoch": 1})

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="no space left"):
        write_json(target, {"epoch": 2, "long": "x" * 10000})
    monkeypatch.undo()
    assert read_json(target) == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_old_file_stays_until_the_new_one_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "summary.json"
    write_text_atomically(target, "old")
    seen: list[tuple[str, str]] = []
    rename = os.replace

    def look_and_rename(source: Path, destination: Path) -> None:
        seen.append((target.read_text(), Path(source).read_text()))
        assert Path(source).parent == target.parent
        rename(source, destination)

    monkeypatch.setattr(os, "replace", look_and_rename)
    write_text_atomically(target, "new")
    assert seen == [("old", "new")]


def test_json_is_strict_and_knows_arrays(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_json(
        target,
        {
            "nan": float("nan"),
            "nested": [float("inf"), np.float32("-inf"), np.float32(0.5)],
            "array": np.array([1.0, np.nan]),
            "count": np.int64(3),
            "flag": np.bool_(True),
            "path": Path("/a/b"),
            "milestones": {30: 0.1},
        },
    )

    def refuse(constant: str) -> None:
        raise AssertionError(f"not strict JSON: {constant}")

    assert json.loads(target.read_text(), parse_constant=refuse) == {
        "nan": None,
        "nested": [None, None, 0.5],
        "array": [1.0, None],
        "count": 3,
        "flag": True,
        "path": "/a/b",
        "milestones": {"30": 0.1},
    }


@pytest.mark.parametrize("value", [object(), {(1, 2): 3}, {"deep": [{1, 2}]}])
def test_json_refuses_what_it_does_not_know_and_keeps_the_file(tmp_path: Path, value: object) -> None:
    target = tmp_path / "a.json"
    write_json(target, 1)
    with pytest.raises(TypeError):
        write_json(target, value)
    assert read_json(target) == 1


def test_metrics_round_trip(tmp_path: Path) -> None:
    target = tmp_path / "run" / "metrics.jsonl"
    assert read_metrics(target) == []
    append_metrics(target, {"epoch": 1, "loss": np.float64(2.5)})
    append_metrics(target, {"epoch": 2, "loss": float("nan")})
    assert target.read_text() == '{"epoch": 1, "loss": 2.5}\n{"epoch": 2, "loss": null}\n'
    assert read_metrics(target) == [{"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": None}]
    assert read_metrics(target, up_to_epoch=1) == [{"epoch": 1, "loss": 2.5}]


def test_every_tear_of_the_last_line_is_survived(tmp_path: Path) -> None:
    """Cuts the file at every byte of the last record: reading, and appending after it, both work."""
    first, second, third = ({"epoch": epoch, "loss": 0.5, "name": "é"} for epoch in (1, 2, 3))
    whole = tmp_path / "whole"
    append_metrics(whole, first)
    start = whole.stat().st_size
    append_metrics(whole, second)
    content = whole.read_bytes()
    for cut in range(start, len(content) + 1):
        target = tmp_path / "metrics.jsonl"
        target.write_bytes(content[:cut])
        # Only the newline is missing at len - 1: the record is complete and must not be lost.
        kept = [first, second] if cut >= len(content) - 1 else [first]
        assert read_metrics(target) == kept, cut
        append_metrics(target, third)
        assert read_metrics(target) == [*kept, third], cut


def test_a_broken_line_that_no_crash_explains_is_an_error(tmp_path: Path) -> None:
    target = tmp_path / "metrics.jsonl"
    target.write_text('{"epoch": 1}\n{"epo\n{"epoch": 3}\n')
    with pytest.raises(ValueError, match="line 2"):
        read_metrics(target)


def test_truncate_drops_later_epochs_and_the_torn_line(tmp_path: Path) -> None:
    target = tmp_path / "metrics.jsonl"
    target.write_text('{"epoch": 1}\n{"epoch": 2}\n{"epoch": 3}\n{"epo')
    assert truncate_metrics(target, 2) == [{"epoch": 1}, {"epoch": 2}]
    assert target.read_text() == '{"epoch": 1}\n{"epoch": 2}\n'
    assert truncate_metrics(tmp_path / "none.jsonl", 2) == []
    assert not (tmp_path / "none.jsonl").exists()


def test_truncate_that_fails_keeps_every_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "metrics.jsonl"
    target.write_text('{"epoch": 1}\n{"epoch": 2}\n')

    def fail(*_: object) -> None:
        raise OSError("disk gone")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk gone"):
        truncate_metrics(target, 1)
    assert target.read_text() == '{"epoch": 1}\n{"epoch": 2}\n'
