"""The terminal shows a bar, a log gets plain lines, and both fit 80 columns."""

import io
import math
from collections.abc import Callable

import pytest
from rich.console import Console

from bnnjax.report.run.console import epoch_text, summary_table, training_progress
from bnnjax.report.style.formatting import MISSING

ESCAPE = "\x1b"


def _terminal(width: int = 80) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    # An environment of its own, so that the colours of the machine that tests play no part.
    return Console(file=out, width=width, force_terminal=True, _environ={"TERM": "xterm"}), out


def _log(width: int = 80) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=width, _environ={}), out


def test_a_log_gets_one_plain_line_an_epoch(fake_run: Callable) -> None:
    console, out = _log()
    metrics = fake_run(epochs=3).metrics
    with training_progress(console, 3, 351) as display:
        for record in metrics:
            display.update(step=record["step"], loss=1.0, accuracy=50.0, images_per_second=100.0)
            display.epoch_line(record)
    lines = out.getvalue().splitlines()
    assert lines[0] == "compiling the training step"
    assert [line.split("  ")[0] for line in lines[1:]] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert ESCAPE not in out.getvalue()
    assert "\r" not in out.getvalue()


@pytest.mark.parametrize("make", [_log, _terminal])
def test_compilation_is_announced_before_the_wait_for_it(
    make: Callable[[], tuple[Console, io.StringIO]],
) -> None:
    console, out = make()
    with training_progress(console, 2, 10, first_step=19):
        shown = out.getvalue()
    assert shown.count("compiling the training step") == 1


def test_a_log_says_nothing_of_compilation_where_no_step_is_left() -> None:
    console, out = _log()
    with training_progress(console, 2, 10, first_step=20):
        pass
    assert out.getvalue() == ""


def test_a_dumb_terminal_gets_no_escape_codes(fake_run: Callable) -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, _environ={"TERM": "dumb"})
    with training_progress(console, 1, 2) as display:
        display.update(step=1, loss=1.0)
        display.epoch_line(fake_run(epochs=1).metrics[0])
    assert ESCAPE not in out.getvalue()
    assert len(out.getvalue().splitlines()) == 2


def test_a_terminal_shows_loss_accuracy_speed_and_time_left() -> None:
    console, out = _terminal()
    times = iter([100.0, 110.0])
    with training_progress(console, 2, 10, clock=lambda: next(times)) as display:
        display.update(step=5, loss=1.2345, accuracy=33.36, images_per_second=1234.5)
        display.update(step=10, loss=0.5, accuracy=50.0, images_per_second=1000.0)
    shown = out.getvalue()
    # 5 steps took 10 s after the first update, and 10 steps are left.
    for text in ("epoch 2/2", "loss 0.500", "acc 50.0%", "1000 images/s", "0:00:20 left", "50%"):
        assert text in shown


def test_the_widest_bar_is_not_cut_at_80_columns() -> None:
    console, out = _terminal()
    times = iter([0.0, 3600.0])
    with training_progress(console, 400, 1000, first_step=100_000, clock=lambda: next(times)) as display:
        display.update(step=100_000, loss=12.345, accuracy=99.9, images_per_second=123456.0)
        display.update(step=110_000, loss=12.345, accuracy=99.9, images_per_second=123456.0)
    assert "epoch 111/400" in out.getvalue()
    assert "29:00:00 left" in out.getvalue()
    assert "…" not in out.getvalue()


def test_a_resumed_bar_starts_where_it_stopped() -> None:
    console, out = _terminal()
    with training_progress(console, 4, 10, first_step=20):
        pass
    assert "epoch 3/4" in out.getvalue()
    assert "50%" in out.getvalue()


def test_epoch_lines_stand_above_the_bar_unwrapped(fake_run: Callable) -> None:
    console, out = _terminal()
    record = fake_run(epochs=1).metrics[0]
    with training_progress(console, 1, 351) as display:
        display.epoch_line(record)
    assert epoch_text(record, 1) in out.getvalue()


def test_values_that_are_missing_or_not_finite_do_not_crash() -> None:
    console, out = _terminal(120)
    with training_progress(console, 1, 2) as display:
        display.update(step=1, loss=math.nan)
        display.epoch_line({"epoch": 1, "loss": math.inf, "validation_accuracy": None})
        display.epoch_line({})
    assert "loss not finite" in out.getvalue()
    assert f"val {MISSING}" in out.getvalue()


def test_usual_epoch_lines_fit_80_columns() -> None:
    record = {
        "epoch": 400,
        "loss": 11.9013,
        "train_accuracy": 100.0,
        "validation_accuracy": 100.0,
        "log_lipschitz_bound": -41.23,
        "images_per_second": 12345.6,
    }
    text = epoch_text(record, 400)
    assert text == "epoch 400/400  loss 11.901  train 100.0%  val 100.0%  log L -41.2  12346 img/s"
    assert len(text) <= 80
    assert epoch_text({**record, "units_off": 3}, 400).endswith("  3 off")


@pytest.mark.parametrize(("epochs", "steps"), [(0, 1), (1, 0), (-1, 5)])
def test_an_empty_run_is_refused(epochs: int, steps: int) -> None:
    console, _ = _log()
    with (
        pytest.raises(ValueError, match=f"got {epochs} and {steps}"),
        training_progress(console, epochs, steps),
    ):
        pass


def test_the_final_table_fits_80_columns_and_says_it_all(fake_run: Callable) -> None:
    run = fake_run(units=20, off=(3,))
    console, out = _log()
    console.print(summary_table(run.summary | {"device_kind": "x" * 200}, run.units))
    text = out.getvalue()
    assert max(len(line) for line in text.splitlines()) <= 80
    for part in ("cifar10", "reactnet, 1/1 bits", "l1inf", "84.37%", "84.92%", "31.42 nats", "median 0."):
        assert part in text
    for part in ("1 of 20", "2 h 03 min", "1,874.3", "272,474"):
        assert part in text
    assert text.count("x") >= 200  # folded, not cut


def test_the_final_table_of_an_empty_summary(fake_run: Callable) -> None:
    console, out = _log()
    console.print(summary_table({"test_accuracy": math.nan, "method": "[red]"}, []))
    assert "not finite" in out.getvalue()
    assert "[red]" in out.getvalue()  # text, not markup
