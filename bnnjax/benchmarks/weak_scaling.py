"""Weak scaling: each device has the same work, and there are more and more devices."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from bnnjax.benchmarks.yardstick import last_line

# XLA's flag for so many fake devices on one CPU, which it reads when it starts.
FAKE_DEVICES = "--xla_force_host_platform_device_count"


def weak_scaling(
    script: str, arguments: Sequence[str], share: int, counts: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Times one case on each number of fake devices, in a process of its own, and yields a record each.

    The devices share the cores of one CPU, so that with N times the work a step should take N times as long:
    `efficiency` is the images per second of all, relative to the first count, and 1 is perfect.

    Args:
      script: is run as `script ARGUMENTS --batches N` and prints records as `time_cases` yields them.
      arguments: for it.
      share: images of a device in a step.
      counts: numbers of devices.

    Raises:
      ValueError: if one fails, with the last that it said.
    """
    first = None
    kept = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if not flag.startswith(FAKE_DEVICES)]
    for devices in counts:
        fake = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": " ".join([*kept, f"{FAKE_DEVICES}={devices}"])}
        command = [sys.executable, script, *arguments, "--batches", str(share * devices)]
        environment = {**os.environ, **fake}
        done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"on {devices} devices it failed: {last_line(done.stderr)}")
        record = json.loads(done.stdout.splitlines()[0])
        first = first or record["train_images_per_second"]
        efficiency = record["train_images_per_second"] / first
        yield {**record, "images_per_device": share, "efficiency": round(efficiency, 3)}
