"""Runs repeated from their own records, as processes and at the checks before them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import Run
from runs import ROOT
from shared import made_once

from bnnjax.runs.rerun import other_conditions, prepare_repetition

DIGITS = ROOT / "experiments" / "digits.py"
SMALL = ("--model=resnet_tiny", "--epochs=1", "--train-examples=256", "--batch-size=32", "--noise=none")


def summary(run: Path) -> dict[str, Any]:
    return json.loads((run / "summary.json").read_text())


@pytest.fixture(scope="module")
def hashed(run: Run, digits_dir: Path, shared_folder: Path) -> Path:
    """A run that starts from its full-precision twin."""

    def make(place: Path) -> None:
        done = run(DIGITS, f"--data-dir={digits_dir}", f"--workdir={place}", "--method=bwnh", *SMALL)
        assert (done.returncode, done.stderr) == (0, "")

    return made_once(shared_folder, "hashed_digits", make)


@pytest.fixture(scope="module")
def taught(run: Run, digits_dir: Path, hashed: Path, shared_folder: Path) -> Path:
    """A deterministic run that starts from a network and learns from it; then the network is moved."""

    def make(root: Path) -> None:
        shutil.copytree(hashed / "pretrained", root / "network")
        made_from = (f"--pretrained={root / 'network'}", f"--teacher={root / 'network'}", "--deterministic")
        places = (f"--data-dir={digits_dir}", f"--workdir={root / 'run'}")
        done = run(DIGITS, *places, "--constraint=l1inf", "--optimizer=adamw", *made_from, *SMALL)
        assert (done.returncode, done.stderr) == (0, "")
        (root / "network").rename(root / "moved")

    return made_once(shared_folder, "taught", make) / "run"


@pytest.mark.slow
@pytest.mark.timeout(300)  # trains up to four networks
def test_a_run_with_its_twin_repeats_to_the_bit(run: Run, hashed: Path) -> None:
    done = run(Path("-m"), "bnnjax", "rerun", hashed)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"this repeats {hashed} to the bit\n")
    place = Path(f"{hashed}-rerun")
    record = json.loads((place / "rerun.json").read_text())
    assert (record["equal"], record["other_conditions"], record["run"]) == (True, [], str(hashed))
    for name in ("test_accuracy", "validation_accuracy", "log_lipschitz_bound"):
        assert record[name] == {"before": summary(hashed)[name], "now": summary(place)[name]}
    assert len(record["network"]["now"]) == 64
    assert (place / "pretrained" / "summary.json").exists()
    # Against a record that says something else, the finished repetition is none.
    told = summary(hashed) | {"test_accuracy": 12.5}
    other = hashed.with_name("other")
    shutil.copytree(hashed, other)
    (other / "summary.json").write_text(json.dumps(told))
    done = run(Path("-m"), "bnnjax", "rerun", other, "--workdir", place)
    assert (done.returncode, done.stderr) == (5, "")
    assert f"test accuracy: 12.5 before, {summary(place)['test_accuracy']} now\n" in done.stdout
    assert done.stdout.endswith(f"this is not a repetition of {other}\n")
    assert json.loads((place / "rerun.json").read_text())["equal"] is False


@pytest.mark.slow
def test_a_run_made_from_networks_repeats_wherever_they_lie(run: Run, taught: Path, tmp_path: Path) -> None:
    moved, place = taught.with_name("moved"), tmp_path / "again"
    networks = ("--pretrained", moved, "--teacher", moved)
    done = run(Path("-m"), "bnnjax", "rerun", taught, "--workdir", place, *networks)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"this repeats {taught} to the bit\n")
    before, now = (json.loads((run / "config.json").read_text())["config"] for run in (taught, place))
    places = {"workdir", "pretrained", "teacher"}
    assert {name: now[name] for name in now if name not in places} == {
        name: before[name] for name in before if name not in places
    }
    assert (now["optimizer"], now["constraint"], now["deterministic"]) == ("adamw", "l1inf", True)


Refuse = Callable[..., str]


@pytest.fixture
def refusal(tmp_path: Path) -> Refuse:
    """refusal(run, ...): the sentence with which a rerun is rejected, before its directory is made."""

    def refused(run: Path, **given: Path) -> str:
        with pytest.raises(ValueError, match="run") as error:
            prepare_repetition(run, tmp_path / "again", **given)
        assert not (tmp_path / "again").exists()
        return str(error.value)

    return refused


@pytest.mark.slow
@pytest.mark.timeout(300)  # trains up to four networks
def test_what_cannot_be_repeated_is_refused(
    refusal: Refuse, hashed: Path, taught: Path, digits_dir: Path, tmp_path: Path
) -> None:
    assert refusal(tmp_path).endswith("is not the directory of a run: it has no config.json")
    shutil.copytree(hashed, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    assert refusal(tmp_path / "run").endswith("is not finished: there is nothing to compare with")
    assert "network is not the directory of a run" in refusal(taught)
    (tmp_path / "link").symlink_to(hashed)
    with pytest.raises(ValueError, match=r"link is that of the run itself; choose another --workdir"):
        prepare_repetition(hashed, tmp_path / "link")
    moved = taught.with_name("moved")
    assert refusal(taught, pretrained=hashed, teacher=moved).startswith(
        f"the pretrained of the run {taught} was another: sha256 "
    )
    assert refusal(taught, pretrained=moved, teacher=hashed).startswith(
        f"the teacher of the run {taught} was another: sha256 "
    )


@pytest.mark.slow
def test_other_data_is_refused(refusal: Refuse, hashed: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(hashed, run)
    record = json.loads((run / "config.json").read_text())
    digest = record["data"]["digest"]
    record["data"]["digest"] = "0123456789abcdef"
    (run / "config.json").write_text(json.dumps(record))
    sentence = f"the data of the run {run} was another: sha256 0123456789ab there, {digest[:12]} here"
    assert refusal(run) == sentence


def test_other_conditions_are_told_in_a_sentence_each() -> None:
    before = {"versions": {"jax": "1", "flax": "2"}, "git_revision": "a", "devices": 1}
    now = {"versions": {"jax": "3", "flax": "2", "new": "4"}, "git_revision": None, "devices": 8}
    assert list(other_conditions(before, before)) == []
    assert list(other_conditions(before, now)) == [
        "jax was 1 and is 3",
        "new was None and is 4",
        "git revision was a and is None",
        "devices was 1 and is 8",
    ]
