"""A script restarts once, with its arguments, if glibc must be asked for huge pages."""

import platform
from pathlib import Path

import pytest
from processes import Start, finish

from bnnjax.runtime.huge_pages import environment_with_huge_pages

GLIBC = ("glibc", "2.36")


@pytest.mark.parametrize(
    ("library", "before", "after"),
    [
        (GLIBC, None, "glibc.malloc.hugetlb=1"),
        (GLIBC, "", "glibc.malloc.hugetlb=1"),
        (GLIBC, "glibc.malloc.check=1", "glibc.malloc.check=1:glibc.malloc.hugetlb=1"),
        (("glibc", "2.35"), None, "glibc.malloc.hugetlb=1"),
    ],
)
def test_huge_pages_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, library: tuple[str, str], before: str | None, after: str
) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: library)
    environment = {"A": "b"} if before is None else {"A": "b", "GLIBC_TUNABLES": before}
    assert environment_with_huge_pages(environment) == {"A": "b", "GLIBC_TUNABLES": after}


@pytest.mark.parametrize(
    ("library", "environment"),
    [
        (GLIBC, {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}),
        (GLIBC, {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0:glibc.malloc.check=1"}),
        (("glibc", "2.34"), {}),
        (("", ""), {}),
    ],
)
def test_what_is_said_holds_and_other_libraries_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, library: tuple[str, str], environment: dict[str, str]
) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: library)
    assert environment_with_huge_pages(environment) is None


@pytest.mark.skipif(environment_with_huge_pages({}) is None, reason="needs glibc 2.35")
def test_a_script_starts_over_once_as_the_same_process(start: Start, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "from bnnjax.runtime.huge_pages import restart_with_huge_pages\n"
        "print('started', os.getpid(), flush=True)\n"
        "restart_with_huge_pages()\n"
        "print(os.environ['GLIBC_TUNABLES'], sys.argv[1:], sys.flags.dev_mode)\n"
    )
    process = start("-X", "dev", script, "--flag", "a b")
    started = f"started {process.pid}"
    assert finish(process).stdout.splitlines() == [
        started,
        started,
        "glibc.malloc.hugetlb=1 ['--flag', 'a b'] True",
    ]
