"""Launch scripts are valid, and contain the command that was given."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bnnjax.cli import main
from bnnjax.cli.launch import command_of, launch_script
from bnnjax.cli.train import prepare_run
from bnnjax.config.training import Config

AWKWARD = ["--workdir", 'runs/it\'s a $(test) & "more"', "--method=xnor"]
GIVEN = ["experiments/cifar10.py", *AWKWARD]
# Says what it was called with, as JSON.
FAKE = f"""#!{sys.executable}
import json, sys
print(json.dumps(sys.argv[1:]))
"""


def called(script: str, tool: str, folder: Path, **variables: str) -> list[str]:
    """Runs a shell script in a folder, with a fake tool, and returns the tool's arguments."""
    (folder / tool).write_text(FAKE)
    (folder / tool).chmod(0o755)
    (folder / "script.sh").write_text(script)
    subprocess.run(["bash", "-n", folder / "script.sh"], check=True, timeout=60)
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"} | variables
    done = subprocess.run(
        ["bash", folder / "script.sh"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    arguments: list[str] = json.loads(done.stdout)
    return arguments


def test_slurm_starts_the_command_in_its_directory(tmp_path: Path) -> None:
    script = launch_script("slurm", Config(), GIVEN, tmp_path)
    assert script.splitlines()[0] == "#!/bin/bash"
    options = [line.split()[1] for line in script.splitlines() if line.startswith("#SBATCH")]
    assert {"--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=4", "--signal=TERM@300"} <= set(options)
    assert f"\ncd {tmp_path}\n" in script
    arguments = called(script, "srun", tmp_path)
    assert arguments == ["--kill-on-bad-exit=1", "python", *GIVEN, "--distributed", "auto"]


def test_tpu_starts_the_command_on_every_host(tmp_path: Path) -> None:
    script = launch_script("tpu", Config(), GIVEN, Path("/home/somebody/the checkout"))
    arguments = called(script, "gcloud", tmp_path, TPU="slice", ZONE="zone")
    assert {"slice", "--zone=zone", "--worker=all"} <= set(arguments)
    (command,) = (argument for argument in arguments if argument.startswith("--command="))
    words = shlex.split(command.removeprefix("--command="))
    assert words == ["cd", "the checkout", "&&", "python", *GIVEN, "--distributed", "auto"]


def test_tpu_asks_for_the_name_of_the_slice(tmp_path: Path) -> None:
    (tmp_path / "script.sh").write_text(launch_script("tpu", Config(), GIVEN, tmp_path))
    environment = {name: value for name, value in os.environ.items() if name not in ("TPU", "ZONE")}
    done = subprocess.run(
        ["bash", tmp_path / "script.sh"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    assert "the name of the slice" in done.stderr


def test_gke_is_an_indexed_job_and_the_service_that_its_pods_find_each_other_by() -> None:
    service, job = yaml.safe_load_all(launch_script("gke", Config(dataset="My_Set/1.0"), GIVEN, Path("/")))
    name = job["metadata"]["name"]
    assert name == "bnnjax-my-set-1-0-resnet20-irnet"
    assert (service["kind"], service["metadata"]["name"]) == ("Service", name)
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": name}
    spec: dict[str, Any] = job["spec"]
    assert (job["kind"], spec["completionMode"]) == ("Job", "Indexed")
    pod = spec["template"]["spec"]
    assert (pod["subdomain"], pod["restartPolicy"]) == (name, "Never")
    (container,) = pod["containers"]
    command = container["command"]
    # Kubernetes reads $$( as $( and replaces $(NAME) by a variable.
    assert [word.replace("$$(", "$(") for word in command[1:4]] == GIVEN[:3]
    assert all("$(" not in word.replace("$$(", "") for word in command[:5])
    by_hand = dict(zip(command[5::2], command[6::2], strict=True))
    assert by_hand == {
        "--coordinator": f"{name}-0.{name}:8476",
        "--num-processes": str(spec["completions"]),
        "--process-id": "$(JOB_COMPLETION_INDEX)",
    }
    assert spec["parallelism"] == spec["completions"]
    claims = [volume["name"] for volume in pod["volumes"]]
    assert [mount["name"] for mount in container["volumeMounts"]] == claims


def test_flags_of_launching_are_left_out_in_each_spelling() -> None:
    launching = ["--print-launch", "gke", "--print_launch=gke", "--distributed=auto", "--process_id", "1"]
    assert command_of(["a.py", *launching, "--epochs", "3", "--num-processes", "2"]) == [
        "a.py",
        "--epochs",
        "3",
    ]


@pytest.mark.parametrize("target", ["slurm", "gke", "tpu"])
def test_the_flag_prints_the_script_and_nothing_else(
    target: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["prog.py", "--print-launch", target, "--epochs", "3"])
    with pytest.raises(SystemExit) as stop:
        main.main(Config(), "text", prepare_run)
    assert stop.value.code == 0
    output, errors = capsys.readouterr()
    assert output == launch_script(target, Config(epochs=3), ["prog.py", "--epochs", "3"], tmp_path)
    assert errors == ""
    assert list(tmp_path.iterdir()) == []
