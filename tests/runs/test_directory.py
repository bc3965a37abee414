"""Run directories: which run one belongs to."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bnnjax import __version__
from bnnjax.config.constraints import L1InfConfig
from bnnjax.config.recipe import Recipe
from bnnjax.config.resolved import ResolvedConfig
from bnnjax.config.training import Config
from bnnjax.runs import directory
from bnnjax.runs.resolve import resolve
from bnnjax.runtime.lock import hold


def configured(**values: Any) -> ResolvedConfig:
    return resolve(Config(**values))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A run directory of the default configuration, on data with the digest "abc"."""
    directory.record_config(tmp_path / "run", configured(), data={"digest": "abc"})
    return tmp_path / "run"


def test_an_empty_directory_is_free_and_left_alone(tmp_path: Path) -> None:
    assert directory.claim(tmp_path, configured()) is False
    assert list(tmp_path.iterdir()) == []
    with hold(tmp_path):
        assert directory.claim(tmp_path, configured()) is False


def test_a_directory_is_known_to_its_own_configuration(place: Path) -> None:
    assert directory.claim(place, configured()) is True


@pytest.mark.parametrize(
    "values",
    [
        {"workdir": Path("elsewhere")},
        {"data_dir": Path("elsewhere")},
        {"archive": Path("elsewhere")},
        {"checkpoint_every": 7},
        {"common": Recipe(epochs=1)},
    ],
)
def test_places_and_how_often_to_save_make_no_other_run(place: Path, values: dict[str, Any]) -> None:
    assert directory.claim(place, configured().with_values(**values)) is True


@pytest.mark.parametrize(
    ("values", "difference"),
    [
        ({"seed": 5}, "seed is 0 there, 5 here"),
        ({"method": "xnor", "seed": 5}, "method is irnet there, xnor here"),
        ({"epochs": 3}, "epochs is 400 there, 3 here"),
        ({"constraint": "l1inf"}, "constraint is none there, l1inf here"),
    ],
)
def test_another_configuration_is_told_the_first_difference(
    place: Path, values: dict[str, Any], difference: str
) -> None:
    with pytest.raises(ValueError, match=difference):
        directory.claim(place, configured(**values))


def test_a_difference_within_a_group_of_settings_has_its_full_name(tmp_path: Path) -> None:
    there, here = (L1InfConfig(form="hard", radius=radius) for radius in (10.0, 2.0))
    directory.record_config(tmp_path, configured(constraint="l1inf", l1inf=there), data={"digest": "abc"})
    with pytest.raises(ValueError, match=r"l1inf\.radius is 10.0 there, 2.0 here"):
        directory.claim(tmp_path, configured(constraint="l1inf", l1inf=here))


def test_a_flag_that_one_version_has_and_the_other_has_not_is_a_difference(place: Path) -> None:
    record = json.loads((place / "config.json").read_text())
    record["config"]["gone"] = 1
    (place / "config.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="gone is 1 there, None here"):
        directory.claim(place, configured())


def test_a_run_that_is_older_than_the_choice_of_kernels_has_xlas(place: Path) -> None:
    record = json.loads((place / "config.json").read_text())
    del record["config"]["kernels"]
    (place / "config.json").write_text(json.dumps(record))
    assert directory.claim(place, configured(kernels="xla")) is True
    with pytest.raises(ValueError, match="kernels is xla there, native here"):
        directory.claim(place, configured().with_values(kernels="native"))


def test_resume_never_refuses_a_directory_in_use(place: Path) -> None:
    with pytest.raises(ValueError, match="holds a run already, and --resume is never"):
        directory.claim(place, configured(resume="never"))


def test_other_files_are_not_overrun(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match="is in use, but not by a run"):
        directory.claim(tmp_path, configured())


def test_a_record_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written: Not a directory"):
        directory.record_config(tmp_path / "file" / "run", configured())


def test_a_run_killed_while_it_wrote_its_first_file_can_start_again(tmp_path: Path) -> None:
    (tmp_path / ".config.json.0123456789ab.tmp").write_text('{"conf')
    assert directory.claim(tmp_path, configured()) is False


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '{"config": '])
def test_a_config_that_is_no_record_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config.json is not the record of a run"):
        directory.claim(tmp_path, configured())


def test_damaged_metrics_are_refused_by_file_and_line(place: Path) -> None:
    (place / "metrics.jsonl").write_text('{"epoch": 1}\n{"epo\n{"epoch": 3}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 2"):
        directory.claim(place, configured())


def test_a_torn_last_line_of_metrics_is_no_damage(place: Path) -> None:
    (place / "metrics.jsonl").write_text('{"epoch": 1}\n{"epo')
    assert directory.claim(place, configured()) is True


def test_other_data_is_refused(place: Path) -> None:
    directory.check_digest(place, "abc")
    with pytest.raises(ValueError, match="belongs to a run on other data: sha256 abc there, xyz here"):
        directory.check_digest(place, "xyz")


def test_a_record_without_data_is_refused(tmp_path: Path) -> None:
    directory.record_config(tmp_path, configured())
    with pytest.raises(ValueError, match="is not the record of a run"):
        directory.check_digest(tmp_path, "abc")


def test_the_default_directory_tells_runs_apart() -> None:
    config = configured(dataset="digits", model="resnet_tiny", method="xnor", constraint="l1inf", seed=3)
    assert directory.default_workdir(config) == Path("runs/digits-resnet_tiny-xnor-l1inf-seed3")


def test_versions_name_what_results_depend_on() -> None:
    versions = directory.versions()
    assert versions["bnnjax"] == __version__
    assert {"python", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"} <= versions.keys()
    assert "not installed" not in versions.values()


def test_a_data_set_in_a_directory_makes_no_directories_of_runs() -> None:
    config = configured(dataset="emnist/digits/3.1.0")
    assert directory.default_workdir(config) == Path("runs/emnist-digits-3.1.0-resnet20-irnet-none-seed0")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with one commit of two modules."""
    root = tmp_path / "tree"
    (root / "bnnjax" / "ops").mkdir(parents=True)
    for name in ("workdir.py", "ops/sign.py"):
        (root / "bnnjax" / name).write_text(name)
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "one"]):
        subprocess.run(["git", "-C", str(root), *command], check=True, timeout=60)
    return root


def test_the_revision_is_that_of_the_tree_the_package_runs_from(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "__file__", str(tree / "bnnjax" / "workdir.py"))
    head = (tree / ".git" / "refs" / "heads").rglob("*")
    (commit,) = (path.read_text().strip() for path in head if path.is_file())
    assert directory.git_revision() == commit
    (tree / "new").write_text("")
    assert directory.git_revision() == f"{commit}-dirty"


def test_an_installed_package_has_the_revision_of_the_scripts_tree_while_it_is_the_same(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site" / "bnnjax"
    shutil.copytree(tree / "bnnjax", site)
    monkeypatch.setattr(directory, "__file__", str(site / "workdir.py"))
    monkeypatch.setattr(sys, "argv", [str(tree / "experiments" / "digits.py")])
    (tree / "experiments").mkdir()
    assert re.fullmatch("[0-9a-f]{40}", str(directory.git_revision()))
    (site / "ops" / "sign.py").write_text("another version")
    assert directory.git_revision() is None


def test_other_networks_that_a_run_is_made_from_are_told_by_their_digests(tmp_path: Path) -> None:
    place, taught = tmp_path / "run", {"run": "a", "digest": "0123456789abcdef"}
    directory.record_config(place, configured(), data={}, pretrained=None, teacher=taught)
    moved = {"run": "elsewhere/a", "digest": "0123456789abcdef"}
    directory.check_networks(place, {"pretrained": None, "teacher": moved})
    for teacher, here in (
        (None, "none"),
        ({"run": "a", "digest": "fedcba9876543210"}, "sha256 fedcba987654"),
    ):
        message = f"another network as --teacher: sha256 0123456789ab there, {here} here; choose another"
        with pytest.raises(ValueError, match=message):
            directory.check_networks(place, {"pretrained": None, "teacher": teacher})
    with pytest.raises(ValueError, match="another network as --pretrained: none there, sha256 01234"):
        directory.check_networks(place, {"pretrained": taught, "teacher": taught})
    # Where they lie does not matter to whose the directory is.
    assert directory.claim(place, configured(teacher=Path("elsewhere/a")))
