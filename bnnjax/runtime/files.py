"""Files of a run directory: written atomically, read back after a crash."""

import contextlib
import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO


def write_bytes_atomically(path: Path | str, data: bytes) -> None:
    """Writes a file whole or not at all; see `open_atomically`."""
    with open_atomically(path) as file:
        file.write(data)


@contextlib.contextmanager
def open_atomically(path: Path | str) -> Iterator[BinaryIO]:
    """Opens a file that replaces the one at `path` when the block ends; readers see the old or the new one.

    Args:
      path: the file; its folder is made if it is missing.

    Raises:
      OSError: writing failed.  After this and any other error in the block, an older file is unchanged.
    """
    target = Path(path)
    # Same folder, so that the rename stays within one file system. Not `tempfile`: its files are readable by
    # their owner only, and a run directory is often shared.
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    with naming(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)


def remove_unfinished(folder: Path | str) -> None:
    """Removes the temporary files that a killed process left in a folder where no other process writes."""
    for temporary in Path(folder).glob(".*.tmp"):
        temporary.unlink()


def write_text_atomically(path: Path | str, text: str) -> None:
    """Writes a UTF-8 text file whole or not at all; see `write_bytes_atomically`."""
    write_bytes_atomically(path, text.encode("utf-8"))


def write_json(path: Path | str, obj: Any) -> None:
    """Writes strict JSON whole or not at all; NaN and infinities become null.

    Args:
      path: the file.
      obj: nested mappings, sequences, numbers, strings, None; arrays become lists, paths strings.

    Raises:
      TypeError: a value or a key that JSON cannot represent.
    """
    text = json.dumps(_strict(obj), indent=2, allow_nan=False, ensure_ascii=False)
    write_text_atomically(path, text + "\n")


def read_json(path: Path | str) -> Any:
    """Reads a JSON file.

    Raises:
      FileNotFoundError: no such file.
      ValueError: the file is not JSON.
    """
    return json.loads(Path(path).read_bytes())


def append_metrics(path: Path | str, record: Mapping[str, Any]) -> None:
    """Adds one epoch's record as one line of metrics.jsonl, on disk when this returns.

    Args:
      path: the file; made if it is missing.
      record: what `write_json` accepts; NaN and infinities become null.

    Raises:
      TypeError: a value that JSON cannot represent; nothing is written.
      ValueError: the file holds a broken line that is not the last.
    """
    target = Path(path)
    line = (json.dumps(_strict(record), allow_nan=False) + "\n").encode("utf-8")
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and not _ends_a_line(target):
        # An earlier process died while it wrote: appended to its truncated record, this one would be lost.
        _write_records(target, read_metrics(target))
    with naming(target), open(target, "ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read_metrics(path: Path | str, up_to_epoch: int | None = None) -> list[dict[str, Any]]:
    """Reads metrics.jsonl, without a last line that a crash has truncated.

    Args:
      path: the file; a missing one has no records.
      up_to_epoch: leave out records of later epochs; None keeps all.

    Returns:
      The records in the order of the file.

    Raises:
      ValueError: a broken line that no crash explains (it ends in a newline, or is not the last), or a
        record without an epoch when `up_to_epoch` is given.
    """
    target = Path(path)
    if not target.exists():
        return []
    records: list[dict[str, Any]] = []
    for number, line in enumerate(target.read_bytes().splitlines(keepends=True), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            if not line.endswith(b"\n"):  # only the last line can lack its end
                break
            raise ValueError(f"{target}, line {number}: not JSON: {line[:80]!r}") from error
        if not isinstance(record, dict):
            raise ValueError(f"{target}, line {number}: expected an object, got {line[:80]!r}")
        if up_to_epoch is not None and "epoch" not in record:
            raise ValueError(f"{target}, line {number}: a record without an epoch")
        if up_to_epoch is None or record["epoch"] <= up_to_epoch:
            records.append(record)
    return records


def truncate_metrics(path: Path | str, epoch: int) -> list[dict[str, Any]]:
    """Rewrites metrics.jsonl without a truncated line and without records later than `epoch`.

    Args:
      path: the file; a missing one stays missing.
      epoch: the last epoch to keep, that of the checkpoint a run resumes from.

    Returns:
      The records kept.
    """
    records = read_metrics(path, up_to_epoch=epoch)
    if Path(path).exists():
        _write_records(Path(path), records)
    return records


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Adds the file's name to an OSError, which lacks it when the file is open already."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _write_records(path: Path, records: list[dict[str, Any]]) -> None:
    write_text_atomically(
        path, "".join(json.dumps(record, allow_nan=False) + "\n" for record in map(_strict, records))
    )


def _ends_a_line(path: Path) -> bool:
    with open(path, "rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _sync_folder(folder: Path) -> None:
    # The rename itself is durable only once the folder is on disk. Some network file systems refuse this; the
    # file is complete all the same.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _strict(value: Any) -> Any:
    """Returns the value as plain JSON types, with None for numbers that are not finite."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str | int):
                raise TypeError(f"JSON keys are strings, got {key!r}")
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # NumPy and JAX, scalars and arrays, without importing either
        return _strict(value.tolist())
    raise TypeError(f"not a JSON value: {type(value).__name__} {value!r}")
