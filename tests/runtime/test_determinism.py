"""Determinism is requested in time, and rejected where it is not possible."""

import os

import pytest

from bnnjax.runtime import determinism
from bnnjax.runtime.determinism import check_promise, flags_with_determinism, require_determinism

OPS = "--xla_gpu_deterministic_ops=true --xla_gpu_exclude_nondeterministic_ops=true"
ALL = f"{OPS} --xla_gpu_autotune_level=0"


@pytest.mark.parametrize(
    ("given", "needed"),
    [
        ("", ALL),
        (ALL, ALL),
        ("--xla_force_host_platform_device_count=8", f"--xla_force_host_platform_device_count=8 {ALL}"),
        ("--xla_gpu_autotune_level=0  --x", f"--xla_gpu_autotune_level=0 --x {OPS}"),
    ],
)
def test_flags_are_added_to_those_that_are_given(given: str, needed: str) -> None:
    assert flags_with_determinism(given) == needed


def test_the_contrary_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs --xla_gpu_autotune_level=0; XLA_FLAGS has .*level=4"):
        flags_with_determinism("--xla_gpu_autotune_level=4")


@pytest.mark.parametrize(
    ("platform", "version", "is_promised"),
    [
        ("cpu", "cpu", True),
        ("gpu", "PJRT C API\ncuda 12090", True),
        ("gpu", "PJRT C API\nrocm 60200", False),
        ("tpu", "PJRT C API\nTFRT TPU v5 lite", False),
    ],
)
def test_backends_without_a_promise_are_refused(platform: str, version: str, is_promised: bool) -> None:
    if is_promised:
        check_promise(platform, version)
    else:
        with pytest.raises(ValueError, match=f"for CPUs and NVIDIA GPUs; the backend is {platform}"):
            check_promise(platform, version)


class Gpu:
    """A fake backend with the attributes that are read."""

    platform, platform_version = "gpu", "cuda 13000"


@pytest.mark.parametrize(
    ("flags", "is_late", "is_refused"), [("", False, False), ("", True, True), (ALL, True, False)]
)
def test_on_gpus_flags_are_set_before_the_backend_starts_or_never(
    flags: str, is_late: bool, is_refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", flags)
    monkeypatch.setattr(determinism, "backends_are_initialized", lambda: is_late)
    monkeypatch.setattr(determinism, "get_backend", Gpu)
    if is_refused:
        with pytest.raises(ValueError, match="comes too late"):
            require_determinism()
        assert os.environ["XLA_FLAGS"] == flags
    else:
        require_determinism()
        assert os.environ["XLA_FLAGS"] == ALL
