"""No test can hang: tests, the processes that they start and the parts of CI have time limits."""

import ast
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from processes import Run, is_there, wait_until

ROOT = Path(__file__).parents[1]
HANGING = """
import time
from pathlib import Path
from processes import start_python

def test_that_hangs(tmp_path):
    process = start_python(("-c", "import time; time.sleep(1000)"), {}, None)
    Path(FILE).write_text(str(process.pid))
    time.sleep(1000)

def test_after_it():
    pass
"""


def unbounded(source: str) -> list[str]:
    """Calls of a module that start a process without a bound on its time, or wait for one."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name, owner = node.func.attr, ast.unparse(node.func.value)
        has_limit = any(keyword.arg == "timeout" for keyword in node.keywords)
        starts = owner == "subprocess" and (name == "Popen" or not has_limit)
        if starts or (name in ("communicate", "wait") and not has_limit and not node.args):
            found.append(f"{owner}.{name}")
    return found


def test_processes_are_started_and_waited_for_within_bounds() -> None:
    assert unbounded("subprocess.run(['a'])\nsubprocess.Popen('a')\np.communicate()\np.wait()") == [
        "subprocess.run", "subprocess.Popen", "p.communicate", "p.wait",
    ]  # fmt: skip
    assert unbounded("subprocess.run(['a'], timeout=5)\np.wait(3)") == []
    files = [path for path in (ROOT / "tests").rglob("*.py") if path.name != "processes.py"]
    assert len(files) > 100
    assert {path.name: found for path in files if (found := unbounded(path.read_text("utf-8")))} == {}


def test_a_test_that_hangs_shows_all_stacks_and_ends_with_its_process(run: Run, tmp_path: Path) -> None:
    file, number = tmp_path / "test_hanging.py", tmp_path / "pid"
    file.write_text(HANGING.replace("FILE", repr(str(number))))
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    options = (f"--config-file={ROOT / 'pyproject.toml'}", f"--basetemp={tmp_path / 'base'}", "--timeout=5")
    done = run("-m", "pytest", file, "-n", 1, "-p", "no:cacheprovider", *options)
    assert done.returncode == 1
    assert "1 failed, 1 passed" in done.stdout
    assert "crashed while running" in done.stdout
    assert "::test_that_hangs" in done.stdout
    assert 'test_hanging.py", line 9 in test_that_hangs' in done.stderr  # its stack
    wait_until(lambda: not is_there(int(number.read_text())), limit=10)


@pytest.mark.parametrize(
    ("command", "code", "end"),
    [
        (("true",), 0, r"== NAME: \d s, \d s in all"),
        (("sleep", "30"), 1, r"== failed: NAME \(not finished in 1 s\)"),
        (("false",), 1, r"== failed: NAME \(exit code 1\)"),
    ],
)
def test_a_part_of_ci_is_bounded_and_named_where_it_fails(
    command: tuple[str, ...], code: int, end: str
) -> None:
    (part,) = re.findall(
        r"^part\(\) \{\n.*?^\}$", (ROOT / ".ci" / "run").read_text(), re.DOTALL | re.MULTILINE
    )
    began = time.monotonic()
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f'{part}\npart NAME 1 "$@"', "bash", *command],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ,
    )
    assert time.monotonic() - began < 25
    first, *_, last = done.stdout.splitlines()
    assert (done.returncode, first) == (code, "== NAME (at most 1 s)")
    assert re.fullmatch(end, last)
