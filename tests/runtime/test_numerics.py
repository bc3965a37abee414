"""Settings of JAX that change results are refused at the start of a command, and recorded."""

import json
from pathlib import Path

import jax
import pytest
from processes import Run

from bnnjax.runs import directory
from bnnjax.runtime.numerics import SETTINGS, check_environment, in_force


def test_the_settings_are_jaxs_and_in_force() -> None:
    assert set(SETTINGS) <= set(jax.config.values)
    assert in_force() == SETTINGS
    assert json.loads(json.dumps(in_force())) == SETTINGS


def test_an_environment_with_other_settings_is_refused() -> None:
    check_environment({})
    check_environment(
        {"JAX_ENABLE_X64": "0", "JAX_DEFAULT_PRNG_IMPL": "threefry2x32", "JAX_PLATFORMS": "cpu"}
    )
    with (
        jax.enable_x64(True),
        pytest.raises(ValueError, match="JAX_ENABLE_X64 is 1 in the environment, which"),
    ):
        check_environment({"JAX_ENABLE_X64": "1"})
    with jax.default_matmul_precision("highest"), pytest.raises(ValueError, match="PRECISION is highest"):
        check_environment({"JAX_DEFAULT_MATMUL_PRECISION": "highest"})


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("JAX_ENABLE_X64", "1", "JAX_ENABLE_X64 is 1 in the environment, which changes results; unset it"),
        ("JAX_ENABLE_X64", "maybe", "invalid truth value 'maybe' for environment 'JAX_ENABLE_X64'"),
    ],
)
def test_a_command_says_so_before_anything_else(
    run: Run, tmp_path: Path, variable: str, value: str, sentence: str
) -> None:
    place = tmp_path / "run"
    done = run("-m", "bnnjax", "train", "digits", f"--workdir={place}", **{variable: value})
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert sentence in line
    assert not place.exists()


def test_a_run_is_not_resumed_with_other_settings(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(directory.provenance()))
    directory.check_numerics(tmp_path)
    with jax.enable_x64(True), pytest.raises(ValueError, match="jax_enable_x64 is False there, True here"):
        directory.check_numerics(tmp_path)
    (tmp_path / "config.json").write_text("{}")  # of an old version
    directory.check_numerics(tmp_path)
