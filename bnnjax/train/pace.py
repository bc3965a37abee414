"""Timing of a training loop: when it waits for the device, and how many images per second it trains on."""

import time
from collections.abc import Callable

MOST_STEPS_AHEAD = 16  # steps that may be queued on the device before the loop waits for their results


class Pace:
    """Counts the steps of a run and times them.

    A step returns before the device has computed it; reading a result waits for that step and all before it.
    Waiting after every step would leave the device idle in between, so the loop runs ahead by about as many
    steps as take a second, which is often enough to show progress and to react to a signal.

    Attributes:
      stride: how many steps to take between two waits; processes that train together must agree on it.
      images_per_second: the average over this epoch up to the last wait.  In the run's first epoch it leaves
        out the time before the first wait, most of it compilation, unless the epoch is over by then.
    """

    def __init__(self, batch_size: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.stride = 1
        self.images_per_second = 0.0
        self._batch_size = batch_size
        self._clock = clock
        self._has_compiled = False
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Resets counts and times; the first wait comes after one step."""
        self.stride = 1
        self._epoch_began = self._timed_from = self._waited_at = self._clock()
        self._timed_steps = self._steps_ahead = 0

    def count_step(self) -> None:
        """Counts a step that has been handed to the device."""
        self._timed_steps += 1
        self._steps_ahead += 1

    @property
    def is_wait_due(self) -> bool:
        """Whether a stride of steps has been taken since the last wait."""
        return self._steps_ahead >= self.stride

    def waited(self, *, epoch_is_over: bool) -> None:
        """Updates stride and images_per_second, now that the device has computed all steps so far."""
        now = self._clock()
        per_second = int(self._steps_ahead / max(now - self._waited_at, 1e-9))
        self.stride = min(max(per_second, 1), MOST_STEPS_AHEAD)
        self._waited_at, self._steps_ahead = now, 0
        if not self._has_compiled:
            self._has_compiled = True
            # Compilation should not count, but an epoch of one step has no other step to time.
            if not epoch_is_over:
                self._timed_from, self._timed_steps = now, 0
        seconds = max(now - self._timed_from, 1e-9)
        self.images_per_second = self._timed_steps * self._batch_size / seconds

    def epoch_seconds(self) -> float:
        """Returns the seconds since the epoch began."""
        return self._clock() - self._epoch_began
