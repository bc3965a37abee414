"""The run directory: whose it is, and what it says of how the run was made."""

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnnjax import __version__
from bnnjax.config.json import from_json, to_json
from bnnjax.config.resolved import ResolvedConfig
from bnnjax.config.training import Config
from bnnjax.runtime import numerics
from bnnjax.runtime.files import read_json, read_metrics, write_json
from bnnjax.runtime.lock import LOCK

# Fields that may change when a run resumes: where results and data lie, who decodes them, how often it saves,
# what it tests at the end, what it keeps for its backward passes, on how many processes it trains.  What the
# common recipe and the preset have filled in is compared where it was filled in; other networks that the run
# is made from are compared by their digests.
PLACES = frozenset(
    {
        "workdir",
        "data_dir",
        "archive",
        "data_workers",
        "data_timeout",
        "skip_corrupt",
        "resume",
        "checkpoint_every",
        "noise",
        "remat",
        "pack_codes",
        "common",
        "preset",
        "distributed",
        "coordinator",
        "process_id",
        "num_processes",
        "print_launch",
        "pretrained",
        "teacher",
        "lcr.teacher",
    }
)
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow-datasets")


def default_workdir(config: Config) -> Path:
    """Returns runs/DATASET-MODEL-METHOD-CONSTRAINT-SEED."""
    dataset = config.dataset.strip("/").replace("/", "-")
    parts = (dataset, config.model, config.method, config.constraint.replace(",", "+"), f"seed{config.seed}")
    return Path("runs", "-".join(parts))


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version(), "bnnjax": __version__}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def git_revision() -> str | None:
    """Returns the commit of the working tree that this package is from, with `-dirty` if the tree is changed.

    That is the tree which the package runs from, or that of the script, if the package was installed from it
    and its files are the same still.
    """
    package = Path(__file__).parent

    def git(place: Path, *arguments: str) -> str:
        command = ["git", "-C", str(place), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    for place in (package, Path(sys.argv[0]).absolute().parent):
        try:
            root = Path(git(place, "rev-parse", "--show-toplevel"))
            tracked = [root / name for name in git(root, "ls-files", "--", "bnnjax/*.py").splitlines()]
            pairs = [(path, package / path.relative_to(root / "bnnjax")) for path in tracked]
            if pairs and all(path.read_bytes() == installed.read_bytes() for path, installed in pairs):
                return git(root, "rev-parse", "HEAD") + (
                    "-dirty" if git(root, "status", "--porcelain") else ""
                )
        except (OSError, ValueError, subprocess.SubprocessError):
            continue
    return None


def provenance() -> dict[str, Any]:
    """Returns what the record of a run says of the software and the command it was made by."""
    return {
        "versions": versions(),
        "git_revision": git_revision(),
        "command": shlex.join(sys.argv),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "jax_settings": numerics.in_force(),
    }


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested mappings as one, with dots in its names, without the fields of PLACES."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if prefix + name in PLACES:
            continue
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def first_difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Returns the name of the first entry that differs, our value and theirs, or None."""
    mine, others = flat(ours), flat(theirs)
    names = (name for name in {**mine, **others} if mine.get(name) != others.get(name))
    return next(((name, mine.get(name), others.get(name)) for name in names), None)


# That a run may be made from, by their names in its record.
NETWORKS = ("pretrained", "teacher", "lcr.teacher")


def settings_of(workdir: Path) -> dict[str, Any]:
    """Returns all settings of a run but the seed that may change its results, by name; `lcr.form` is nested.

    Raises:
      ValueError: if the directory holds no record of a run.
    """
    record = workdir / "config.json"
    try:
        kept = read_json(record)
        config = flat(to_json(from_json(kept["config"])))
        del config["seed"]
        sources = {name: (kept.get(name) or {}).get("digest") for name in NETWORKS}
        others = {name: digest and digest[:12] for name, digest in sources.items()}
        return {**config, **others, "data": kept["data"]["digest"][:12]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{record} is not the record of a run") from error


def claim(workdir: Path, config: ResolvedConfig) -> bool:
    """Checks that a run may have a directory, which is locked for it; returns whether it was there before.

    Raises:
      ValueError: if the directory holds another configuration's run, other files, a damaged run, or a run
        although `resume` is never.
    """
    record = workdir / "config.json"
    if not record.exists():
        # A run that was killed while it wrote its first file leaves nothing but that file's beginning.
        names = {path.name for path in workdir.iterdir()} - {LOCK}
        if any(name[:13] != ".config.json." for name in names):
            raise ValueError(
                f"work directory {workdir} is in use, but not by a run; choose another --workdir"
            )
        return False
    if config.resume == "never":
        raise ValueError(f"work directory {workdir} holds a run already, and --resume is never")
    try:
        # A record that is older than a field, nested or not, was made with its default.
        theirs = {**flat(to_json(Config(kernels="xla"))), **flat(read_json(record)["config"])}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{record} is not the record of a run; choose another --workdir") from error
    difference = first_difference(to_json(config), theirs)
    if difference is not None:
        name, mine, other = difference
        raise ValueError(
            f"work directory {workdir} belongs to another configuration: {name} is {other} there, "
            f"{mine} here; choose another --workdir"
        )
    read_metrics(
        workdir / "metrics.jsonl", up_to_epoch=0
    )  # its errors are ValueErrors that name the file and the line
    return True


def record_config(workdir: Path, config: ResolvedConfig, **more: Any) -> None:
    """Writes config.json into a run directory: the configuration, the software, and what else is given.

    Raises:
      ValueError: if it cannot be written.
    """
    try:
        write_json(workdir / "config.json", {"config": to_json(config), **provenance(), **more})
    except OSError as error:
        raise ValueError(f"work directory {workdir} cannot be written: {error.strerror}") from error


def is_finished(place: Path) -> bool:
    """Returns whether a run directory's run has come to its end."""
    return (place / "summary.json").exists()


def check_shared(workdir: Path) -> None:
    """Checks that another process than the first sees the run directory that this one has made.

    Raises:
      ValueError: if it does not.
    """
    if not (workdir / "config.json").exists():
        raise ValueError(f"work directory {workdir} is not shared: it must lie where all processes see it")


def check_numerics(workdir: Path) -> None:
    """Checks that JAX computes as it did when a run began; records of old versions do not tell.

    Raises:
      ValueError: naming the first of its settings that is another.
    """
    other = numerics.first_other(read_json(workdir / "config.json").get("jax_settings", {}))
    if other is not None:
        name, there, here = other
        raise ValueError(
            f"work directory {workdir} belongs to a run that computes otherwise: {name} is {there} there, "
            f"{here} here; choose another --workdir"
        )


def check_digest(workdir: Path, digest: str) -> None:
    """Checks that a run resumes with the data that it began with.

    Raises:
      ValueError: if the data has another digest.
    """
    record = workdir / "config.json"
    try:
        before = str(read_json(record)["data"]["digest"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{record} is not the record of a run; choose another --workdir") from error
    if before != digest:
        raise ValueError(
            f"work directory {workdir} belongs to a run on other data: sha256 {before[:12]} there, "
            f"{digest[:12]} here; choose another --workdir"
        )


def check_networks(workdir: Path, networks: Mapping[str, Mapping[str, str] | None]) -> None:
    """Checks that a run resumes with the networks that it began with.

    Args:
      workdir: of a run.
      networks: by the flags that name them, each with its `digest`; None where there is none.

    Raises:
      ValueError: if one has another digest.
    """
    record = read_json(workdir / "config.json")
    for name, network in networks.items():
        before, now = ((known or {}).get("digest") for known in (record.get(name), network))
        if before != now:
            there, here = (f"sha256 {known[:12]}" if known else "none" for known in (before, now))
            raise ValueError(
                f"work directory {workdir} belongs to a run with another network as --{name}: {there} there, "
                f"{here} here; choose another --workdir"
            )
