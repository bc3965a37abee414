"""JAX's compilation cache in bnnjax's directory; tests/faults/test_damage.py has truncated entries."""

import pwd
import warnings
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from bnnjax.runtime.cache import cache_directory, use_compilation_cache

NAMES = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The directory of the cache, for a JAX without one."""
    before = {name: jax.config.values[name] for name in NAMES}
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    yield tmp_path / "bnnjax" / "xla"
    for name, value in before.items():
        jax.config.update(name, value)


def test_it_is_below_the_users_cache_unless_jax_has_one(place: Path, tmp_path: Path) -> None:
    use_compilation_cache()
    assert jax.config.values["jax_compilation_cache_dir"] == str(place)
    assert place.is_dir()
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    use_compilation_cache()
    assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path)


def test_without_a_home_directory_there_is_none(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(user: int) -> None:
        raise KeyError(user)

    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    use_compilation_cache()
    assert jax.config.values["jax_compilation_cache_dir"] is None
    with pytest.raises(NotADirectoryError):
        (cache_directory() / "decoded").mkdir(parents=True)


def test_what_cannot_be_written_is_done_without(place: Path, tmp_path: Path) -> None:
    (tmp_path / "bnnjax").write_text("in the way")
    use_compilation_cache()
    assert jax.config.values["jax_compilation_cache_dir"] is None


@pytest.mark.parametrize("hash_of_one", ["", "-" + 64 * "a"])
def test_entries_of_the_name_that_cannot_be_read_make_room(place: Path, hash_of_one: str) -> None:
    use_compilation_cache()
    names = [f"jit_step-{letter * 64}-cache" for letter in "ab"] + ["jit_steps-cache"]
    for name in names:
        (place / name).write_text("cut sho")
    message = "persistent compilation cache entry for 'jit_step{}': error: incomplete or truncated stream"
    about = (UserWarning, "compiler.py", 1)
    warnings.showwarning("Error writing " + message.format(hash_of_one), *about)
    assert {path.name for path in place.iterdir()} == set(names)
    warnings.showwarning("Error reading " + message.format(hash_of_one), *about)
    assert [path.name for path in place.iterdir()] == ["jit_steps-cache"]


def test_a_cache_that_jax_was_given_is_mended_too(place: Path, tmp_path: Path) -> None:
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    use_compilation_cache()
    use_compilation_cache()
    (tmp_path / "jit_step-0-cache").write_text("cut sho")
    message = "Error reading persistent compilation cache entry for 'jit_step': error: truncated"
    warnings.showwarning(message, UserWarning, "compiler.py", 1)
    assert list(tmp_path.iterdir()) == []


def test_other_warnings_are_shown(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *about: shown.append(str(message)))
    use_compilation_cache()
    warnings.showwarning("it is late", UserWarning, "clock.py", 1)
    assert shown == ["it is late"]
