"""Bit-for-bit reproducibility: the XLA flags it needs, and the backends on which it holds."""

import os

from jax._src.xla_bridge import backends_are_initialized  # there is no public way to ask
from jax.extend.backend import get_backend

# In jaxlib 0.10 to 0.12 the first implies the others; builds for CPUs accept all three.
FLAGS = {
    "--xla_gpu_deterministic_ops": "true",
    "--xla_gpu_exclude_nondeterministic_ops": "true",
    "--xla_gpu_autotune_level": "0",
}


def flags_with_determinism(flags: str) -> str:
    """Returns XLA_FLAGS with the flags added that make GPUs deterministic.

    Raises:
      ValueError: if they contradict these.
    """
    given = dict(flag.partition("=")[::2] for flag in flags.split())
    for name, value in FLAGS.items():
        if given.get(name, value) != value:
            raise ValueError(f"--deterministic needs {name}={value}; XLA_FLAGS has {name}={given[name]}")
    return " ".join([*flags.split(), *(f"{name}={FLAGS[name]}" for name in FLAGS if name not in given)])


def check_promise(platform: str, platform_version: str) -> None:
    """Checks that equal runs end with equal bits on a backend.

    Raises:
      ValueError: if no way is known to make them.
    """
    if platform != "cpu" and not (platform == "gpu" and "cuda" in platform_version):
        raise ValueError(f"--deterministic is for CPUs and NVIDIA GPUs; the backend is {platform}")


def require_determinism() -> None:
    """Makes this process deterministic; call it before JAX computes anything.

    On CPUs nothing needs to be done: XLA splits work by shapes and the number of threads, not by which thread
    is free, and adds the parts in a fixed order.

    Raises:
      ValueError: if this backend cannot be made deterministic, or JAX has already computed something.
    """
    before = os.environ.get("XLA_FLAGS", "")
    needed, is_late = flags_with_determinism(before), backends_are_initialized()
    if not is_late:
        os.environ["XLA_FLAGS"] = needed
    backend = get_backend()
    check_promise(backend.platform, backend.platform_version)
    if backend.platform == "gpu" and is_late and before != needed:
        raise ValueError("--deterministic comes too late in a process that has computed something already")
