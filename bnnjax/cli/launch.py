"""Scripts that start a command on many hosts, to be copied and edited.

Nothing here imports JAX; see `bnnjax.config`.
"""

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from bnnjax.config.names import LaunchName
from bnnjax.config.training import Config

# Flags that say how processes are started; a script has its own.
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

# Submit with sbatch.  A process a GPU.  Five minutes before its time is over the run saves and stops;
# submitted again it resumes.
set -euo pipefail
cd {here}
srun --kill-on-bad-exit=1 {command}
"""

GKE = """\
# Apply with kubectl.  A pod a host.  New pods resume from the last checkpoint; wrong input (exit code 2)
# and a loss that is not finite (3) are not tried again.  The image holds this repository in its working
# directory, and what it requires; the claim is a volume that all pods can write, where --workdir and
# --data-dir belong.  Evicted, the run saves and the job counts as complete: delete it and apply again to
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
    """Returns the arguments without those that say how processes are started."""
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
      config: that the command means.
      arguments: of the command, the program's path first.
      here: where it was given.
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
    # By hand: JAX's own way asks the Kubernetes API, which needs a package and a role.
    host = f"{name}-0.{name}:{PORT}"
    by_hand = ["--coordinator", host, "--num-processes", "2", "--process-id", "$(JOB_COMPLETION_INDEX)"]
    escaped = [argument.replace("$(", "$$(") for argument in command]
    return GKE.format(name=name, command=json.dumps([*escaped, *by_hand]))
