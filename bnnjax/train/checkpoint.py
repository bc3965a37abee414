"""Checkpoints: Orbax directories of arrays and JSON, checked by digests when they are read."""

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import SingleDeviceSharding
from orbax.checkpoint.checkpoint_managers import preservation_policy

from bnnjax.runtime.files import write_text_atomically
from bnnjax.runtime.processes import is_first, together

KEPT = 2  # the latest, and the one before in case the latest is damaged
SUMS = "sha256.json"  # of the files of a checkpoint, in its directory
RECORD = 4096  # bytes that a checkpoint has for each array, besides its numbers, at most
UNFINISHED = ".orbax-checkpoint-tmp"  # suffix of the directory of a checkpoint that Orbax is still writing


class MisfitError(ValueError):
    """A checkpoint is undamaged, but its arrays are not those that are needed."""


def named_leaves(tree: Any) -> dict[str, Any]:
    """Returns the leaves of a tree by name, e.g. `best/params/head/kernel`, sorted by name.

    Named tuples give the same names as mappings, so that a tree may be read back as mappings.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return dict(
        sorted((jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves)
    )


def digest(tree: Any) -> str:
    """Returns the sha256, in hexadecimal, of all arrays of a tree with their names, types and shapes."""
    sha = hashlib.sha256()
    for name, leaf in named_leaves(tree).items():
        array = np.asarray(leaf)
        sha.update(f"{name} {array.dtype} {array.shape}".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def check_fit(found: Any, needed: Any) -> None:
    """Checks that two trees have arrays of the same names, types and shapes; values are not looked at.

    Raises:
      MisfitError: with one of the arrays that differ.
    """

    def kinds(tree: Any) -> dict[str, str]:
        return {
            name: f"{np.dtype(leaf.dtype)}[{','.join(map(str, leaf.shape))}]"
            for name, leaf in named_leaves(tree).items()
        }

    there, here = kinds(found), kinds(needed)
    for name in sorted(there.keys() | here.keys()):
        if there.get(name) != here.get(name):
            raise MisfitError(
                f"{name} is {there.get(name, 'missing')} there, {here.get(name, 'nothing')} here"
            )


def file_sums(directory: Path) -> dict[str, str]:
    """Returns the sha256, in hexadecimal, of each file below a directory."""
    files = {str(path.relative_to(directory)): path for path in directory.rglob("*") if path.is_file()}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in sorted(files.items())}


def reserve(directory: Path, state: Any) -> None:
    """Checks that there is space for a state: on a full disk TensorStore's threads would print tracebacks.

    Raises:
      OSError: there is not enough space, or files may not be that large.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    size = sum(leaf.nbytes + RECORD for leaf in jax.tree.leaves(state))
    with tempfile.TemporaryFile(dir=directory) as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise


def system_error(error: Exception) -> int | None:
    """Returns the errno of an error, which TensorStore puts into the text of a ValueError."""
    found = re.search(r"os_error_code='(\d+)'", str(error))
    return int(found[1]) if found else getattr(error, "errno", None)


class Checkpoints:
    """The checkpoints of one run, by step.  Each is written atomically; the last two are kept.

    All processes of a run save and restore together, in one directory that all of them see; with `read_only`
    each process reads on its own.

    Args:
      directory: made if it is missing.
      say: called with one sentence for each checkpoint that is found damaged.
      read_only: nothing is made, written, moved or cleaned up: the run may be someone else's and still
        training.
    """

    def __init__(self, directory: Path, say: Callable[[str], None], *, read_only: bool = False) -> None:
        # Orbax logs every save on the root logger's handlers, and every error that it also raises.
        logging.getLogger("absl").setLevel(logging.CRITICAL + 1)
        self._directory, self._say, self._read_only = directory.absolute(), say, read_only
        self._manager = self._open()

    def _open(self) -> ocp.CheckpointManager:
        who = ocp.options.MultiprocessingOptions()
        if self._read_only:
            me = jax.process_index()
            who = ocp.options.MultiprocessingOptions(
                primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
            )
        elif is_first():
            for unfinished in self._directory.glob(f"*{UNFINISHED}"):  # by a run that was killed
                shutil.rmtree(unfinished, ignore_errors=True)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=preservation_policy.LatestN(KEPT),
            enable_async_checkpointing=False,
            read_only=self._read_only,
            create=not self._read_only,
            multiprocessing_options=who,
        )
        handlers = {
            "state": ocp.StandardCheckpointHandler(multiprocessing_options=who),
            "meta": ocp.JsonCheckpointHandler(multiprocessing_options=who),
        }
        return ocp.CheckpointManager(self._directory, options=options, item_handlers=handlers)

    def latest_step(self) -> int | None:
        """Returns the step of the latest checkpoint, or None."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any) -> None:
        """Writes the state as the checkpoint of that step, unless it is there already.

        Raises:
          OSError: it cannot be written; the checkpoints before it are as they were.
        """
        if step in self._manager.all_steps():
            return
        place = self._directory / str(step)
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave({"digest": digest(state)})
        )
        try:
            if is_first():
                reserve(self._directory, state)
            self._manager.save(step, args=items, force=True)
            if not is_first():
                return
            # A run that is killed before this is written leaves a complete checkpoint, checked by its arrays'
            # digest.  The sums keep broken files from Orbax, whose reader threads would print tracebacks.
            write_text_atomically(place / SUMS, json.dumps(file_sums(place)))
        except (OSError, ValueError) as error:
            code = system_error(error)
            if code is None:
                raise
            # The partial checkpoint would take up space that the user needs next.
            shutil.rmtree(f"{place}{UNFINISHED}", ignore_errors=True)
            raise OSError(code, os.strerror(code), str(place)) from error

    def restore(self, like: Any) -> tuple[int, Any] | None:
        """Returns the step and state of the latest undamaged checkpoint, or None if there is none.

        A damaged one is reported by `say`, and unless read-only it is moved to `damaged/` beside the
        checkpoints, never deleted.

        Args:
          like: a state of the same structure, shapes, dtypes and shardings.

        Raises:
          MisfitError: if that checkpoint is of another structure, other shapes or other dtypes.
        """
        return self._latest(jax.tree.map(ocp.utils.to_shape_dtype_struct, like))

    def read(self) -> tuple[int, Any] | None:
        """Returns what `restore` does, for a state of any structure, as mappings and lists on one device."""
        return self._latest(None)

    def _latest(self, abstract: Any) -> tuple[int, Any] | None:
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                return step, self._read(step, abstract)
            except MisfitError:
                raise
            except Exception as error:  # whatever a reader of broken files may raise
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                moved = "" if self._read_only else f"; it was moved to {self._set_aside(step)}"
                self._say(f"checkpoint {step} is damaged ({reason}){moved}")
        return None

    def _read(self, step: int, abstract: Any) -> Any:
        everyone = nullcontext if self._read_only else together
        with everyone():
            if self._read_only or is_first():
                self._check_files(step)
        with everyone():
            return self._restore(step, abstract)

    def _check_files(self, step: int) -> None:
        place = self._directory / str(step) / SUMS
        if place.exists():
            sums, found = json.loads(place.read_text()), file_sums(place.parent)
            for name in sums:
                if found.get(name) != sums[name]:
                    raise ValueError(f"{name} is {'changed' if name in found else 'missing'}")

    def _restore(self, step: int, abstract: Any) -> Any:
        # Orbax would find other shapes in the middle of reading, and its threads would print tracebacks.
        saved = self._manager.item_metadata(step)["state"].tree
        if abstract is None:
            here = SingleDeviceSharding(jax.local_devices()[0])
            abstract = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), saved
            )
        check_fit(saved, abstract)
        items = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), meta=ocp.args.JsonRestore())
        restored = self._manager.restore(step, args=items)
        if digest(restored.state) != restored.meta["digest"]:
            raise ValueError("its arrays are not those that were saved")
        return restored.state

    def _set_aside(self, step: int) -> Path:
        aside = self._directory.with_name("damaged")
        target = aside / f"{step}-{len(list(aside.iterdir())) if aside.exists() else 0}"
        self._manager.close()
        with together():
            if is_first():
                aside.mkdir(exist_ok=True)
                shutil.move(self._directory / str(step), target)
        self._manager = self._open()
        return target

    def close(self) -> None:
        """Ends the manager's threads."""
        self._manager.close()
