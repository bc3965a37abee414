"""Timing of whole processes: the start until the first step, and weak scaling over fake devices."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from bnnjax.benchmarks.steps import Case
from bnnjax.benchmarks.yardstick import last_line

# XLA's flag for a number of fake devices on one CPU, which it reads at start.
FAKE_DEVICES = "--xla_force_host_platform_device_count"


def time_starts(program: Sequence[str], case: Case) -> Iterator[dict[str, Any]]:
    """Starts a process with an empty compilation cache, then one with a filled cache; yields a record each.

    Args:
      program: run as `PROGRAM --first-step`; prints a line before and a line after its first training step.
      case: the one that it compiles, for the records.
    """
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
        command = [*program, "--first-step"]
        for cache_state in ("cold", "warm"):
            began = time.perf_counter()
            with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
                lines = process.stdout or ()
                taken = [round(time.perf_counter() - began, 2) for _ in lines]
            if process.returncode:
                raise subprocess.CalledProcessError(process.returncode, command)
            before, after = taken
            yield {
                **vars(case),
                "jax": jax.__version__,
                "cache": cache_state,
                "seconds_to_first_step": before,
                "seconds_to_its_end": after,
            }


def weak_scaling(program: Sequence[str], share: int, counts: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Times one case on each number of fake devices, in a separate process, and yields a record each.

    The devices share the cores of one CPU, so with N times the work a step should take N times as long:
    `efficiency` is the total of images per second relative to the first count; 1 is perfect.

    Args:
      program: run as `PROGRAM --batches N`; prints records as `time_cases` yields them.
      share: images per device and step.
      counts: numbers of devices.

    Raises:
      ValueError: if a process fails, with its last line.
    """
    first = None
    kept = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if not flag.startswith(FAKE_DEVICES)]
    for devices in counts:
        fake = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": " ".join([*kept, f"{FAKE_DEVICES}={devices}"])}
        command = [*program, "--batches", str(share * devices)]
        environment = {**os.environ, **fake}
        done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"on {devices} devices it failed: {last_line(done.stderr)}")
        record = json.loads(done.stdout.splitlines()[0])
        first = first or record["train_images_per_second"]
        efficiency = record["train_images_per_second"] / first
        yield {**record, "images_per_device": share, "efficiency": round(efficiency, 3)}
