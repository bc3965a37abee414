"""The build of the C library: by the system's compiler, once, into bnnjax's cache."""

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax

from bnnjax.runtime.cache import cache_directory

SOURCES = Path(__file__).parent / "src"
FLAGS = ("-O3", "-std=gnu99", "-fPIC", "-Wall", "-Wextra")
AVX2 = ("-mavx2", "-mfma")
AVX512BW = (*AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512")
# Of each machine: the files of its instruction sets and the flags that they need.
INSTRUCTION_SETS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {"avx2": AVX2, "avx512bw": AVX512BW},
    "aarch64": {"neon": ()},
}
LIMIT = 120  # seconds that a compiler may take


class BuildError(Exception):
    """The library could not be built; says why in a sentence."""


def build(directory: Path | None = None) -> Path:
    """Returns the library's file, which it makes where it is not there yet.

    Many processes may build at once: each makes a file of its own, which then takes its name whole.

    Args:
      directory: where libraries are kept; by default bnnjax's cache.

    Raises:
      BuildError: there is no compiler, it does not understand the source, or the file cannot be written.
    """
    compiler = shutil.which(os.environ.get("CC") or "cc")
    if compiler is None:
        raise BuildError("there is no C compiler")
    files = dict.fromkeys(("conv", "gradients", "agree", "scalar", "xla"), ()) | INSTRUCTION_SETS.get(
        platform.machine(), {}
    )
    try:
        place = (cache_directory() / "native" if directory is None else directory).absolute()
        library = place / f"{_key(compiler, files)}.so"
        if not library.exists():
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=place) as scratch:
                os.replace(_compile(compiler, files, Path(scratch)), library)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home directory
        raise BuildError(str(error)) from error
    return library


def _key(compiler: str, files: dict[str, tuple[str, ...]]) -> str:
    digest = hashlib.sha256()
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.read_bytes())
    version = _run([compiler, "--version"])
    digest.update(repr((version, FLAGS, files, jax.__version__)).encode())
    return digest.hexdigest()[:32]


def _compile(compiler: str, files: dict[str, tuple[str, ...]], scratch: Path) -> Path:
    include = ("-isystem", jax.ffi.include_dir())
    objects = [str(scratch / f"{name}.o") for name in files]
    commands = [
        [compiler, *FLAGS, *flags, *include, "-c", str(SOURCES / f"{name}.c"), "-o", output]
        for (name, flags), output in zip(files.items(), objects, strict=True)
    ]
    with ThreadPoolExecutor() as pool:
        list(pool.map(_run, commands))
    library = scratch / "library.so"
    _run([compiler, "-shared", "-pthread", *objects, "-o", str(library)])
    return library


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{command[0]} did not end within {LIMIT} s") from error
    if done.returncode:
        first = next((line for line in done.stderr.splitlines() if "error" in line), "no reason given")
        raise BuildError(f"{command[0]} failed: {first}")
    return done.stdout
