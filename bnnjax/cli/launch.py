"""Launch scripts that start a command on many hosts (Slurm, Kubernetes, Cloud TPU), to copy and edit.

Nothing here imports JAX; see `bnnjax.config`.
"""

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from bnnjax.config.names import LaunchName
from bnnjax.config.training import Config

# Flags for starting processes; a script has its own.
OF_LAUNCHING = frozenset(
    {"--print-launch", "--distributed", "--coordinator", "--process-id", "--num-processes"}
)
PORT = 8476

SLURM = """\
#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --output={name}-%j.log

# Submit with sbatch.  One process per GPU.  Five minutes before its time is over the run saves and stops;
# submit again to resume.
set -euo pipefail
cd {here}
srun --kill-on-bad-exit=1 {command}
"""

GKE = """\
# Apply with kubectl.  One pod per host.  New pods resume from the last checkpoint; wrong input (exit code 2)
# and a loss that is not finite (3) are not retried.  The image has this repository in its working directory,
# with its requirements installed; the claim is a volume that all pods can write, for --workdir and
# --data-dir.  When evicted, the run saves and the job counts as complete: delete it and apply again to
# resume.
apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector:
    job-name: {name}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: {name}
spec:
  completions: 2
  parallelism: 2
  completionMode: Indexed
  backoffLimit: 100
  podFailurePolicy:
    rules:
      - action: FailJob
        onExitCodes:
          operator: In
          values: [2, 3]
  template:
    spec:
      subdomain: {name}
      restartPolicy: Never
      terminationGracePeriodSeconds: 300
      containers:
        - name: train
          image: bnnjax:latest
          command: {command}
          resources:
            limits:
              nvidia.com/gpu: 8
          volumeMounts:
            - name: shared
              mountPath: /shared
            - name: memory
              mountPath: /dev/shm
      volumes:
        - name: shared
          persistentVolumeClaim:
            claimName: bnnjax
        - name: memory
          emptyDir:
            medium: Memory
"""

TPU = """\
#!/bin/bash
# Runs on every host of a Cloud TPU slice, in a checkout of this repository in the home directory, with a
# --workdir that all hosts see: TPU=NAME ZONE=ZONE bash SCRIPT
set -euo pipefail
: "${{TPU:?the name of the slice}}" "${{ZONE:?its zone}}"
gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all --command={command}
"""


def command_of(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments without the flags for starting processes."""
    kept, drops_next = [], False
    for argument in arguments:
        flag, is_assigned, _ = argument.partition("=")
        if drops_next:
            drops_next = False
        elif flag.replace("_", "-") in OF_LAUNCHING:
            drops_next = not is_assigned
        else:
            kept.append(argument)
    return kept


def launch_script(target: LaunchName, config: Config, arguments: Sequence[str], here: Path) -> str:
    """Returns the script that starts a command on many hosts.

    Args:
      target: slurm, a batch script; gke, a Kubernetes manifest; tpu, a shell script.
      config: the command's configuration.
      arguments: of the command, the program's path first.
      here: the current directory.
    """
    words = re.sub(r"[^a-z0-9]+", "-", f"{config.dataset}-{config.model}-{config.method}".lower()).strip("-")
    name = f"bnnjax-{words}"[:50].rstrip("-")
    command = ["python", *command_of(arguments)]
    if target == "slurm":
        line = shlex.join([*command, "--distributed", "auto"])
        return SLURM.format(name=name, here=shlex.quote(str(here)), command=line)
    if target == "tpu":
        inner = f"cd {shlex.quote(here.name)} && {shlex.join([*command, '--distributed', 'auto'])}"
        return TPU.format(command=shlex.quote(inner))
    # By hand, since JAX's own detection asks the Kubernetes API, which needs a package and a role.
    host = f"{name}-0.{name}:{PORT}"
    by_hand = ["--coordinator", host, "--num-processes", "2", "--process-id", "$(JOB_COMPLETION_INDEX)"]
    escaped = [argument.replace("$(", "$$(") for argument in command]
    return GKE.format(name=name, command=json.dumps([*escaped, *by_hand]))
