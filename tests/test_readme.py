"""CI runs the README's commands, and the README's examples work."""

import re
import subprocess
from pathlib import Path
from typing import Any

from bnnjax.cli import predict, prepare, prepare_folder, rerun
from bnnjax.cli.main import flags
from bnnjax.config.robustness import RobustnessConfig
from bnnjax.config.table import TableConfig
from bnnjax.config.training import Config

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CI = (ROOT / ".ci" / "run").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def one_liners() -> list[str]:
    """The commands that also install what they need."""
    return [line for block in blocks("sh") for line in block.splitlines() if "pip install" in line]


def test_there_are_two_commands_that_install_what_they_need() -> None:
    trains, tests = one_liners()
    assert trains.endswith("python experiments/digits.py --constraint=l1inf")
    assert tests.endswith("pytest")
    for command in (trains, tests):
        assert command.startswith("python3 -m venv ")


def test_ci_takes_both_commands_from_the_readme() -> None:
    (finder,) = re.findall(r"^command_of\(\) \{ (.*) \}$", CI, re.MULTILINE)
    endings = re.findall(r"bash -c \"\$\(command_of (.*?)\)\"", CI)
    assert len(endings) == 2
    found = [
        subprocess.run(
            ["bash", "-c", f"command_of() {{ {finder} }}; command_of {ending}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout.strip()
        for ending in endings
    ]
    assert sorted(found) == sorted(one_liners())


def test_every_flag_the_readme_names_exists() -> None:
    known = {
        *flags(Config()),
        *flags(TableConfig()),
        *flags(RobustnessConfig()),
        *flags(predict.Arguments()),
        *flags(rerun.Arguments()),
        *flags(prepare.Arguments()),
        *flags(prepare_folder.Arguments()),
        "--help",
    }
    flag = r"(?<![\w-])--[a-z][a-z0-9.-]*[a-z0-9]"
    named = set(re.findall(flag, README))
    assert named
    assert named <= known


def test_the_library_examples_run() -> None:
    signals, network = blocks("python")
    names: dict[str, Any] = {}
    exec(network, names)
    assert names["logits"].shape == (8, 10)
    exec(signals, names)
    assert names["noisy"].shape == names["hummed"].shape == (8, 3600, 1)
    assert (names["noisy"] != names["signals"]).any()
