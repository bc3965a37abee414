"""The command line: wrong input ends with code 2 and one plain sentence before anything is compiled."""

import os
import pty
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runs import ROOT

import bnnjax.runs.train
from bnnjax.cli import main
from bnnjax.cli.train import prepare_run
from bnnjax.config.robustness import RobustnessConfig
from bnnjax.config.training import Config
from bnnjax.data.dataset import DataError

DIGITS, CIFAR10 = ROOT / "experiments" / "digits.py", ROOT / "experiments" / "cifar10.py"
DEFAULTS = {
    "digits": Config(dataset="digits", model="resnet_tiny", batch_size=64, epochs=2),
    "cifar10": Config(model="resnet_tiny", batch_size=64, epochs=2),
}

Refusal = Callable[..., str]


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Refusal:
    """refusal(data set, *arguments): the sentence that the command ends with."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)

    def never(*_: Any) -> Any:
        raise AssertionError("it was about to compile")

    monkeypatch.setattr(bnnjax.runs.train, "execute", never)
    monkeypatch.setattr(bnnjax.runs.train, "compile_task", never)

    def refused(dataset: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["prog.py", *map(str, arguments)])
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(SystemExit) as stop:
            main.main(DEFAULTS[dataset], "text", prepare_run)
        assert stop.value.code == 2
        output, errors = capfd.readouterr()
        assert output == ""
        (line,) = errors.splitlines()
        assert line.startswith("prog.py: ")
        assert sorted(tmp_path.rglob("*")) == before  # a wrong command leaves nothing behind
        return line.removeprefix("prog.py: ")

    return refused


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--method=foo"],
            "invalid choice 'foo' for argument '--method'. Expected one of ('fp', 'bnn', 'xnor'",
        ),
        (["--structure", "foo"], "invalid choice 'foo' for argument '--structure'."),
        (["--epochs", "x"], "--epochs: 'x' is not INT"),
        (["--learning-rate", "fast"], "--learning-rate: 'fast' is not FLOAT"),
        (["--seed", "1.5"], "--seed: invalid literal for int() with base 10: '1.5'"),
        (["--epochs"], "Missing value for argument '--epochs'."),
        (["--epochs=0"], "epochs must be at least 1; got 0"),
        (["--l1inf.form=hard", "--l1inf.target=gain"], "l1inf.form hard takes l1inf.target folded; got gain"),
        (["--method=irnet", "--wbits=3"], "method irnet is not defined for 3/1 (weight/activation bits)"),
        (["--model=vgg_tiny", "--structure=bireal"], "model vgg_tiny has no shortcuts"),
        (["--archive=x.tar.gz"], "archive is for data set cifar10; got x.tar.gz with digits"),
        (["--dataset=/"], "dataset must name a data set"),
        (["--data-dir=nowhere"], "the data directory nowhere does not exist"),
    ],
)
def test_a_wrong_value_is_told_in_one_sentence(refusal: Refusal, arguments: list[str], sentence: str) -> None:
    assert refusal("digits", *arguments).startswith(sentence)


@pytest.mark.parametrize(
    ("argument", "guess"),
    [
        ("--epoch=3", ", perhaps --epochs"),
        ("--l1inf.strenght", ", perhaps --l1inf.strength"),
        ("--datasets=digits", ", perhaps --dataset"),
        ("--no-such-thing", ""),
        ("stray", ""),
        ("-x", ""),
    ],
)
def test_an_unknown_flag_lists_the_allowed(refusal: Refusal, argument: str, guess: str) -> None:
    sentence = refusal("digits", "--seed=1", argument)
    start, _, allowed = sentence.partition("; allowed are ")
    assert start == f"unknown {'flag' if argument[0] == '-' else 'argument'} {argument}{guess}"
    assert {"--method", "--epochs", "--batch-size", "--l1inf.strength", "--workdir"} <= set(
        allowed.split(", ")
    )


def test_the_flags_listed_are_those_of_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main.parse(DEFAULTS["digits"], "the text", "prog.py", ["--help"])
    assert not stop.value.code
    output, errors = capsys.readouterr()
    assert errors == ""
    assert "the text" in output
    words = output.replace("│", " ").split()
    shown = {word.rstrip(",") for word in words if word[:2] == "--" and word[2:3].isalpha()} - {"--help"}
    # A switch is shown with its opposite.
    shown -= {word for word in shown if word.replace("no-", "", 1) in shown and "no-" in word}
    assert shown == set(main.flags(DEFAULTS["digits"]))


@pytest.mark.parametrize("columns", ["1", "20", "79", "500"])
def test_no_width_of_the_terminal_breaks_the_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    value = "a-very-long-value-that-fits-no-narrow-terminal" * 4
    with pytest.raises(SystemExit):
        main.parse(Config(), "text", "prog.py", [f"--method={value}"])
    (line,) = capsys.readouterr().err.splitlines()
    assert f"invalid choice '{value}' for argument '--method'" in line


def test_in_a_terminal_the_sentence_has_no_escape_codes(environment: dict[str, str]) -> None:
    ours, theirs = pty.openpty()  # tyro looks at stdout for whether there is a terminal
    done = subprocess.run(
        [sys.executable, str(DIGITS), "--method=foo"],
        env=environment | {"TERM": "xterm-256color"},
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 2
    assert done.stderr.startswith(
        "digits.py: invalid choice 'foo' for argument '--method'. Expected one of ("
    )
    assert "\x1b" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_batches_and_warm_up_must_fit_the_data(refusal: Refusal, digits_dir: Path) -> None:
    data = f"--data-dir={digits_dir}"
    assert "batch size 1288 with 1287 training images" in refusal("digits", data, "--batch-size=1288")
    assert refusal("digits", data, "--warmup-epochs=2").startswith(
        "a warm-up of 40 steps must be shorter than the training's 40"
    )


def test_a_work_directory_that_cannot_be_had_is_refused(
    refusal: Refusal, digits_dir: Path, tmp_path: Path
) -> None:
    data = f"--data-dir={digits_dir}"
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    assert "file is a file" in refusal("digits", data, "--workdir=file")
    assert "cannot be written: Not a directory" in refusal("digits", data, "--workdir=file/run")
    assert "full is in use, but not by a run" in refusal("digits", data, "--workdir=full")


def test_a_work_directory_of_another_configuration_names_the_first_difference(
    refusal: Refusal, digits_dir: Path, tmp_path: Path
) -> None:
    config = DEFAULTS["digits"].with_values(data_dir=digits_dir, workdir=tmp_path / "run")
    bnnjax.runs.plan.prepare(config)
    again = ("digits", f"--data-dir={digits_dir}", f"--workdir={tmp_path / 'run'}")
    assert "seed is 0 there, 1 here" in refusal(*again, "--seed=1")
    assert "epochs is 2 there, 3 here" in refusal(*again, "--epochs=3", "--seed=1")
    assert "holds a run already, and --resume is never" in refusal(*again, "--resume=never")


def test_damaged_data_names_the_file(refusal: Refusal, digits_dir: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(digits_dir / "bnnjax_digits", data / "bnnjax_digits")
    (record,) = data.rglob("*train*array_record*")
    content = bytearray(record.read_bytes())
    content[len(content) // 2] ^= 255
    record.write_bytes(content)
    sentence = refusal("digits", f"--data-dir={data}")
    assert sentence.startswith(f"cannot read {record}")


def test_cifar10_out_of_reach_names_the_remedies(refusal: Refusal, tmp_path: Path) -> None:
    sentence = refusal("cifar10", f"--data-dir={tmp_path}")
    assert "CIFAR-10 is not prepared in" in sentence
    assert "cannot be reached" in sentence
    assert all(remedy in sentence for remedy in ("--data-dir", "--archive", "bnnjax train digits"))


def test_a_data_set_that_is_not_prepared_is_named(refusal: Refusal, tmp_path: Path) -> None:
    sentence = refusal("cifar10", "--dataset=kmnist", f"--data-dir={tmp_path}")
    assert sentence == f"{tmp_path / 'kmnist'} should hold one prepared version, found: none."


def test_a_corrupt_archive_is_named(refusal: Refusal, tmp_path: Path) -> None:
    archive = tmp_path / "cifar-10-binary.tar.gz"
    archive.write_bytes(b"\x1f\x8b\x08" + bytes(100))
    assert f"the archive {archive} is damaged" in refusal(
        "cifar10", f"--data-dir={tmp_path}", f"--archive={archive}"
    )


def test_a_batch_that_does_not_split_over_the_devices_names_both_numbers(
    run: Callable[..., Any], digits_dir: Path, tmp_path: Path
) -> None:
    done = run(
        DIGITS,
        f"--data-dir={digits_dir}",
        f"--workdir={tmp_path / 'run'}",
        "--batch-size=30",
        XLA_FLAGS="--xla_force_host_platform_device_count=8",
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("digits.py: batch size 30 on 8 devices")
    assert not (tmp_path / "run").exists()


def test_experiments_exit_with_2_as_processes(run: Callable[..., Any], tmp_path: Path) -> None:
    for script, arguments, sentence in (
        (DIGITS, ["--no-such-flag"], "unknown flag --no-such-flag; allowed are --constraint, "),
        (CIFAR10, [f"--data-dir={tmp_path}"], "CIFAR-10 is not prepared in"),
    ):
        done = run(script, *arguments, COLUMNS="50")
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"{script.name}: {sentence}")


def end_of(error: Exception, in_work: bool, capsys: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    """The code and the sentence that a command ends with if its work, or what prepares that, raises."""

    def raises(*_: Any) -> Any:
        raise error

    with pytest.raises(SystemExit) as stop:
        main.main(DEFAULTS["digits"], "text", (lambda config: raises) if in_work else raises, "prog", [])
    (line,) = capsys.readouterr().err.splitlines()
    return stop.value.code, line


INTACT = "what was saved before is intact; rerun the command to resume"


@pytest.mark.parametrize(
    ("error", "in_work", "code", "sentence"),
    [
        (ValueError("epochs must be 1"), False, 2, "epochs must be 1"),
        (DataError("x.png is damaged."), False, 2, "x.png is damaged."),
        (DataError("x.png is damaged."), True, 7, f"stopped: x.png is damaged; {INTACT}"),
        (MemoryError("no 8 GB"), True, 2, f"stopped, as the memory does not suffice: no 8 GB; {INTACT}"),
        (
            RuntimeError("RESOURCE_EXHAUSTED: Out of\nmemory"), True, 2,
            f"stopped, as the memory does not suffice: RESOURCE_EXHAUSTED: Out of memory; {INTACT}",
        ),
    ],
)  # fmt: skip
def test_a_users_mistake_ends_in_a_sentence_and_its_code(
    error: Exception, in_work: bool, code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of(error, in_work, capsys) == (code, f"prog: {sentence}")


@pytest.mark.parametrize("in_work", [False, True])
@pytest.mark.parametrize("message", ["", "Unable to initialize backend 'foo'"])
def test_a_backend_that_is_not_there_is_named(
    in_work: bool, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "foo")

    def starts(*_: Any) -> Any:
        code = "raise AssertionError" if not message else f"raise RuntimeError({message!r})"
        exec(compile(code, "site-packages/jax/_src/xla_bridge.py", "exec"))

    with pytest.raises(SystemExit) as stop:
        main.main(DEFAULTS["digits"], "text", (lambda config: starts) if in_work else starts, "prog", [])
    assert stop.value.code == 2
    sentence = f"prog: JAX finds no device where JAX_PLATFORMS is 'foo': {message or 'none'}\n"
    assert capsys.readouterr().err == sentence


@pytest.mark.parametrize("in_work", [False, True])
def test_our_mistake_is_called_a_bug_and_its_traceback_is_kept(
    in_work: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code, line = end_of(KeyError("label"), in_work, capsys)
    (file,) = tmp_path.iterdir()
    assert code == 1
    assert line == f"prog: this is a bug of bnnjax: KeyError: 'label'; the traceback is in {file}"
    text = file.read_text()
    assert text.startswith("Traceback (most recent call last):")
    assert "in raises" in text
    assert text.endswith("KeyError: 'label'\n")


def test_a_home_directory_is_found_in_every_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anne")
    given = ["--workdir=~/run", "--data-dir=~", "--constraint=lcr", "--lcr.teacher=~/teacher"]
    config = main.parse(Config(), "text", "prog", given)
    assert config.workdir == Path("/home/anne/run")
    assert config.data_dir == Path("/home/anne")
    assert config.lcr.teacher == Path("/home/anne/teacher")
    several = main.parse(RobustnessConfig(), "text", "prog", ["~/a", "b~", "--images=~/c"])
    assert several.runs == (Path("/home/anne/a"), Path("b~"))
    assert several.images == Path("/home/anne/c")


@pytest.mark.parametrize("argument", ["--workdir=~nobody-has-this-name/run", "--workdir=run\udcff"])
def test_a_path_that_cannot_be_is_refused(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main.parse(Config(), "text", "prog", [argument])
    assert stop.value.code == 2
    assert capsys.readouterr().err in (
        "prog: Could not determine home directory.\n",
        "prog: '--workdir=run\\udcff' has bytes that are no text in this locale; give another name\n",
    )


def test_a_console_without_a_reader_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = os.pipe()
    os.close(theirs)
    said: list[bool] = []

    def work(console: Any) -> int:
        for _ in range(2):
            console.print("an epoch")
            said.append(console.quiet)
        return 0

    with open(ours, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with pytest.raises(SystemExit) as stop:
            main.main(DEFAULTS["digits"], "text", lambda config: work, "prog", [])
    assert (stop.value.code, said) == (0, [True, True])


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (
            OSError(28, "No space left on device", "run/metrics.jsonl"),
            "run/metrics.jsonl: No space left on device",
        ),
        (OSError("the disk is gone"), "the disk is gone"),
    ],
)
def test_a_file_that_cannot_be_written_ends_the_work_with_4(
    error: OSError, what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(console: Any) -> int:
        raise error

    monkeypatch.setattr(sys, "argv", ["prog.py"])
    with pytest.raises(SystemExit) as stop:
        main.main(DEFAULTS["digits"], "text", lambda config: work)
    assert stop.value.code == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (f"prog.py: stopped: {what}; what was saved before is intact; rerun the command to resume")
