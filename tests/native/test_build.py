"""The build of the C library: once, whole, by any number of processes; and a sentence where it fails."""

import platform
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import pytest

from bnnjax.native import library
from bnnjax.native.build import FLAGS, INSTRUCTION_SETS, SOURCES, BuildError, build

FUZZ = Path(__file__).with_name("fuzz.c")
SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
ARM = ("aarch64-linux-gnu-gcc", "qemu-aarch64-static")  # Debian's gcc-aarch64-linux-gnu and qemu-user-static


@pytest.fixture
def fresh(monkeypatch):
    """`kernels` with nothing remembered, before and after."""
    monkeypatch.delenv("BNNJAX_KERNELS", raising=False)
    remembered = (library.kernels, library.load)
    for function in remembered:
        function.cache_clear()
    yield library.kernels
    for function in remembered:
        function.cache_clear()


def compiled_fuzz(place, compiler="cc", machine=None, flags=()):
    """Returns the program that compares implementations on random convolutions."""
    objects = []
    sets = INSTRUCTION_SETS.get(machine or platform.machine(), {})
    common = dict.fromkeys(("scalar", "conv", "gradients", "agree", "fuzz"), ())
    for name, more in (common | sets).items():
        objects.append(str(place / f"{name}.o"))
        source = FUZZ if name == "fuzz" else SOURCES / f"{name}.c"
        command = [compiler, *FLAGS, "-Werror", *more, *flags, "-I", SOURCES, "-c", source, "-o", objects[-1]]
        subprocess.run(command, check=True, timeout=100)
    subprocess.run([compiler, *flags, *objects, "-o", place / "fuzz", "-lm"], check=True, timeout=100)
    return place / "fuzz"


def compared(*command):
    """Runs the comparison; returns how many convolutions were compared."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return int(done.stdout)


def test_implementations_agree_on_random_convolutions(tmp_path):
    assert compared(compiled_fuzz(tmp_path, flags=("-O1",)), "100", "0") % 140 == 0  # compiled sooner


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_implementations_agree_on_many(tmp_path):
    assert compared(compiled_fuzz(tmp_path), "10000", "1") % 14_000 == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_is_read_or_written_out_of_place(tmp_path):
    assert compared(compiled_fuzz(tmp_path, flags=SANITIZERS), "500", "2") % 700 == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not all(map(shutil.which, ARM)), reason=f"needs {' and '.join(ARM)}")
def test_neon_agrees(tmp_path):
    program = compiled_fuzz(tmp_path, ARM[0], "aarch64", ("-static",))
    assert compared(ARM[1], program, "500", "3") == 700


def test_many_builds_at_once_make_one_library(monkeypatch, tmp_path):
    monkeypatch.setattr("bnnjax.native.build.FLAGS", (*FLAGS, "-O0"))  # sooner
    with ThreadPoolExecutor(3) as pool:
        paths = set(pool.map(build, [tmp_path] * 3))
    assert set(tmp_path.iterdir()) == paths
    (path,) = paths
    before = path.stat().st_mtime_ns
    assert build(tmp_path) == path
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "there is no C compiler"),
        ("exit 1", "failed: no reason given"),
        ('[ "$1" = --version ] || { echo "x.c:1: error: no such thing" >&2; exit 1; }', "no such thing"),
    ],
)
def test_without_a_compiler_that_works_the_convolution_is_xlas(
    script, reason, fresh, monkeypatch, tmp_path, capsys
):
    compiler = tmp_path / "compiler"
    if script is not None:
        compiler.write_text(f"#!/bin/sh\n{script}\n")
        compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(BuildError, match=reason):
        build()
    assert fresh() == "xla"
    said = capsys.readouterr().err
    assert said.startswith("binary convolutions are XLA's, which are slower than ours: ")
    assert reason in said
    assert said.count("\n") == 1


def test_a_cache_that_cannot_be_written_is_a_reason(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildError, match="Not a directory"):
        build(tmp_path / "file" / "cache")


def test_the_environment_names_an_implementation(fresh, monkeypatch):
    monkeypatch.setenv("BNNJAX_KERNELS", "scalar")
    assert fresh() == "scalar"
    fresh.cache_clear()
    monkeypatch.setenv("BNNJAX_KERNELS", "xla")
    assert fresh() == "xla"
    fresh.cache_clear()
    monkeypatch.setenv("BNNJAX_KERNELS", "sse9")
    with pytest.raises(ValueError, match="BNNJAX_KERNELS must name what this machine has; got sse9"):
        fresh()


def test_another_backend_keeps_its_own(fresh, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert fresh() == "xla"
