"""What a signal does to a command that has nothing to save; tests/faults has what it does to a training."""

import os
import signal
from typing import Any

import pytest

from bnnjax.runtime import signals


@pytest.mark.parametrize("number", signals.STOPS)
def test_a_signal_ends_the_process_at_once_and_raises_nothing(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    signals.end_at_once()
    os.kill(os.getpid(), number)
    assert codes == [130]
    assert capfd.readouterr() == ("", f"stopped at once by {number.name}\n")


def test_a_signal_that_is_held_back_ends_the_process_later(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    signals.hold_back()
    signal.raise_signal(signal.SIGTERM)  # in this thread; others, which a command does not have yet, listen
    assert signal.SIGTERM in signal.sigpending()
    assert codes == []
    signals.end_at_once()
    assert codes == [130]


@pytest.mark.parametrize("number", signals.STOPS)
def test_in_a_block_that_cleans_up_a_signal_is_an_exception(number: signal.Signals) -> None:
    seen: list[Any] = []
    signal.signal(number, lambda *given: seen.append(given))
    with pytest.raises(KeyboardInterrupt), signals.interrupting():
        os.kill(os.getpid(), number)
    assert seen == []
    os.kill(os.getpid(), number)
    assert len(seen) == 1
