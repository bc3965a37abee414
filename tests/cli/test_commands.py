"""The command: its list, its subcommands' help, wrong input, and scripts that run the same."""

import re
import runpy
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import Run, modules_loaded
from runs import ROOT

import bnnjax
from bnnjax.cli import benchmark, commands, main, prepare, study, table, train
from bnnjax.cli.commands import COMMANDS
from bnnjax.cli.launch import launch_script
from bnnjax.config.training import Config
from bnnjax.runs.resolve import resolve

# By script: the words that mean the same.
SCRIPTS = {
    "cifar10": ("train", "cifar10"),
    "digits": ("train", "digits"),
    "imagenet": ("train", "imagenet"),
    "robustness": ("robustness",),
    "bounds": ("bounds",),
    "table3": ("table", "table3"),
    "table4": ("table", "table4"),
    "study_l1inf": ("study", "l1inf"),
    "benchmark": ("benchmark", "steps"),
    "benchmark_input": ("benchmark", "input"),
    "overhead": ("benchmark", "constraints"),
}
NAMED = [
    (name, choice)
    for name, module in (("benchmark", benchmark), ("prepare", prepare), ("study", study), ("table", table))
    for choice in module.EXPERIMENTS
] + [("train", choice) for choice in (*train.DESCRIPTIONS, "own_pictures")]
HEAVY = "jax jaxlib flax optax orbax matplotlib tensorflow tensorflow_datasets"
HELP = """
import contextlib, io, sys
from bnnjax.cli.commands import main
for words in {words}:
    sys.argv = ["bnnjax", *words, "--help"]
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text):
            main()
    except SystemExit as stop:
        assert not stop.code, words
    assert text.getvalue().startswith(" ".join(["usage: bnnjax", *words])), text.getvalue()
"""

Ended = tuple[object, str, str]
Command = Callable[..., Ended]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """command(*words): the exit code of `bnnjax` with these, and its stdout and stderr."""
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")  # no restart
    monkeypatch.setenv("COLUMNS", "40")  # which a wrong flag changes
    monkeypatch.chdir(tmp_path)

    def ends(*words: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["/somewhere/bin/bnnjax", *words])
        with pytest.raises(SystemExit) as stop:
            commands.main()
        return (stop.value.code, *capfd.readouterr())

    return ends


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What `main` is called with, in place of its work."""
    made: list[tuple[Any, ...]] = []

    def called(*arguments: Any) -> None:
        made.append(arguments)
        sys.exit(0)

    monkeypatch.setattr(main, "main", called)
    return made


def test_the_list_has_a_line_and_an_example_a_command(command: Command) -> None:
    code, output, errors = command("--help")
    assert (code, errors) == (0, "")
    lines = [line.strip() for line in output.splitlines()]
    for name, each in COMMANDS.items():
        assert "\n" not in each.about + each.example
        assert each.example.startswith(f"bnnjax {name} ")
        place = lines.index(each.example)
        assert lines[place - 1].split(maxsplit=1) == [name, each.about]


def test_the_list_loads_nothing_heavy(run: Run) -> None:
    code = (
        "import runpy, sys\n"
        "sys.argv = ['bnnjax', '--help']\n"
        "sys.stdout, out = open('/dev/null', 'w'), sys.stdout\n"
        "try: runpy.run_module('bnnjax', run_name='__main__')\n"
        "except SystemExit: sys.stdout = out"
    )
    assert modules_loaded(run, code, f"{HEAVY} numpy tyro rich") == []


def test_the_help_of_every_command_loads_no_jax(run: Run) -> None:
    words = [(name,) for name in COMMANDS] + NAMED
    assert modules_loaded(run, HELP.format(words=words), HEAVY) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "bnnjax: name a command; allowed are train, robustness, "),
        (
            ("trian", "digits"),
            "bnnjax: unknown command trian, perhaps train; allowed are train, robustness, ",
        ),
        (("--verison",), "bnnjax: a command must stand before --verison; allowed are train, "),
        (("table",), "bnnjax table: name a table; allowed are table3, table4"),
        (
            ("table", "tabel4"),
            "bnnjax table: unknown table tabel4, perhaps table4; allowed are table3, table4",
        ),
        (("study", "lcr"), "bnnjax study: unknown study lcr; allowed are l1inf"),
        (("benchmark", "--starts"), "bnnjax benchmark: a benchmark must stand before --starts; allowed are "),
        (
            ("train",),
            "bnnjax train: name a data set; allowed are cifar10, digits, imagenet, cifar100, svhn_cropped, "
            "mnist, fashion_mnist and the name of another prepared data set of small images",
        ),
        (("train", "/"), "bnnjax train /: dataset must name a data set; got nothing"),
        (("train", "digits", "--epoch=3"), "bnnjax train digits: unknown flag --epoch=3, perhaps --epochs; "),
        (
            ("train", "digits", "--seed=-1"),
            "bnnjax train digits: seed must be between 0 and 2^32 - 1; got -1",
        ),
        (("bounds",), "bnnjax bounds: name at least one run directory"),
        (("robustness",), "bnnjax robustness: name at least one run directory"),
        (("rerun",), "bnnjax rerun: name the directory of a run"),
        (("predict", "runs/a"), "bnnjax predict: name the directory of a run and then pictures"),
        (("predict", "nowhere", "a.png"), "bnnjax predict: "),
        (("predict", "runs/a", "a.png", "--top=0"), "bnnjax predict: top must be at least 1; got 0"),
        (("prepare", "imagenet"), "bnnjax prepare: unknown data set imagenet, perhaps imagenet2012; allowed"),
        (
            ("prepare", "imagenet2012"),
            "bnnjax prepare imagenet2012: name the directory of the official files",
        ),
        (
            ("prepare", "folder"),
            "bnnjax prepare folder: name the folder or the CSV file of the pictures by --from",
        ),
        (("prepare", "folder", "--from=x"), "bnnjax prepare folder: name the data set by --name"),
        (
            ("prepare", "folder", "--from=x", "--name=mnist"),
            "bnnjax prepare folder: mnist is a data set of its own; choose another --name",
        ),
        (
            ("prepare", "folder", "--from=x", "--name=my-set"),
            "bnnjax prepare folder: name must be letters, digits and _ with a letter first; got my-set",
        ),
        (
            ("prepare", "folder", "--from=x", "--name=a", "--size=4"),
            "bnnjax prepare folder: size must be between 8 and 1024; got 4",
        ),
        (
            ("prepare", "folder", "--from=x", "--name=a", "--test-share=1"),
            "bnnjax prepare folder: test_share must be between 0 and 1; got 1.0",
        ),
        (
            ("prepare", "folder", "--from=x", "--name=a"),
            "bnnjax prepare folder: x is neither a folder nor a CSV file.",
        ),
        (
            ("prepare", "imagenet2012", "--form=x"),
            "bnnjax prepare imagenet2012: unknown flag --form=x, perhaps",
        ),
    ],
)
def test_wrong_words_are_refused_in_one_sentence(
    command: Command, words: tuple[str, ...], sentence: str
) -> None:
    code, output, errors = command(*words)
    assert (code, output) == (2, "")
    (line,) = errors.splitlines()
    assert line.startswith(sentence)


def test_the_sentence_has_no_box_where_the_encoding_has_none(run: Run) -> None:
    done = run("-m", "bnnjax", "train", "digits", "--seed=-1", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "bnnjax train digits: seed must be between 0 and 2^32 - 1; got -1\n"


def test_every_script_runs_what_its_command_runs(
    command: Command, calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {path.stem for path in (ROOT / "experiments").glob("*.py")} == SCRIPTS.keys()
    for name, words in SCRIPTS.items():
        flags = ("--preset", "reactnet") if name == "imagenet" else ("--seed", "3")
        assert command(*words, *flags) == (0, "", "")
        script = ROOT / "experiments" / f"{name}.py"
        monkeypatch.setattr(sys, "argv", [str(script), *flags])
        with pytest.raises(SystemExit):
            runpy.run_path(str(script), run_name="__main__")
        (*ours, program, arguments), theirs = calls
        assert tuple(ours) == theirs
        assert (program, tuple(arguments)) == (" ".join(("bnnjax", *words)), flags)
        calls.clear()


def test_training_on_the_digits_is_the_scripts_configuration(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs: list[Config] = []

    def prepare_run(config: Config) -> Callable[..., int]:
        configs.append(config)
        return lambda console: 0

    monkeypatch.setattr(train, "prepare_run", prepare_run)
    assert command("train", "digits", "--constraint=l1inf")[0] == 0
    script = ROOT / "experiments" / "digits.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--constraint=l1inf"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(script), run_name="__main__")
    ours, theirs = configs
    assert ours == theirs
    assert (ours.dataset, ours.constraint, ours.checkpoint_every) == ("digits", "l1inf", 3)
    assert (resolve(ours).epochs, resolve(ours).batch_size) == (5, 16)


def test_another_data_set_has_the_defaults_of_cifar10(command: Command, calls: list[tuple[Any, ...]]) -> None:
    assert command("train", "emnist/digits/3.1.0")[0] == 0
    assert command("train", "imagenet2012")[0] == 0
    assert command("train", "imagenet")[0] == 0
    others, long, short = (defaults for defaults, *_ in calls)
    assert others == Config(dataset="emnist/digits/3.1.0")
    assert long == short
    assert (long.dataset, long.model) == ("imagenet2012", "resnet18")


def test_a_launch_script_starts_the_command_and_holds_nothing_else(command: Command, tmp_path: Path) -> None:
    words = ("train", "imagenet", "--preset", "irnet")
    code, output, errors = command(*words, "--print-launch", "slurm")
    assert (code, errors) == (0, "")
    config = train.experiment("imagenet", words).defaults
    assert output == launch_script("slurm", config, ("-m", "bnnjax", *words), tmp_path)
    assert "python -m bnnjax train imagenet --preset irnet --distributed auto\n" in output


def test_work_may_end_with_a_sentence_and_a_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(console: Any) -> int:
        raise main.WorkError("the data is gone", 7)

    with pytest.raises(SystemExit) as stop:
        main.main(Config(), "text", lambda config: work, "bnnjax x", [])
    assert stop.value.code == 7
    assert capsys.readouterr() == ("", "bnnjax x: the data is gone\n")


def test_the_version_is_told(command: Command) -> None:
    assert command("--version") == (0, f"bnnjax {bnnjax.__version__}\n", "")


def test_the_package_installs_the_command() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"bnnjax": "bnnjax.cli.commands:main"}


def test_nothing_else_of_the_command_line_is_started_by_itself() -> None:
    for path in sorted((ROOT / "bnnjax").rglob("*.py")):
        if path.name != "__main__.py":
            assert not re.search(r"^if __name__ ==", path.read_text(), re.MULTILINE), path
