"""When the loop waits and the speed that it reports, with a clock set by hand."""

import pytest

from bnnjax.train.pace import MOST_STEPS_AHEAD, Pace

BATCH = 10


class Clock:
    """Shows the time that it is set to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pace(clock: Clock) -> Pace:
    return Pace(BATCH, clock)


def take(pace: Pace, clock: Clock, steps: int, seconds: float, *, epoch_is_over: bool = False) -> None:
    """Takes some steps, then waits for them, in a given number of seconds."""
    for _ in range(steps):
        pace.count_step()
    clock.now += seconds
    pace.waited(epoch_is_over=epoch_is_over)


def test_the_first_wait_of_an_epoch_is_after_one_step(pace: Pace, clock: Clock) -> None:
    for _ in range(2):
        pace.begin_epoch()
        assert not pace.is_wait_due
        pace.count_step()
        assert pace.is_wait_due
        take(pace, clock, 7, 1.0)
        assert pace.stride > 1


@pytest.mark.parametrize(
    ("steps", "seconds", "stride"),
    [
        (1, 30.0, 1),  # never less than a step
        (1, 0.25, 4),
        (7, 2.0, 3),
        (8, 1.0, 8),
        (1, 1e-3, MOST_STEPS_AHEAD),
        (1, 0.0, MOST_STEPS_AHEAD),  # a clock that stands still
    ],
)
def test_the_next_wait_is_after_a_second_or_the_most_steps(
    pace: Pace, clock: Clock, steps: int, seconds: float, stride: int
) -> None:
    take(pace, clock, steps, seconds)
    assert pace.stride == stride
    for _ in range(stride):
        assert not pace.is_wait_due
        pace.count_step()
    assert pace.is_wait_due


def test_each_wait_measures_anew_how_long_steps_take(pace: Pace, clock: Clock) -> None:
    for steps, seconds, stride in ((1, 60.0, 1), (1, 0.125, 8), (8, 4.0, 2)):
        take(pace, clock, steps, seconds)
        assert pace.stride == stride


def test_a_stride_that_processes_agree_on_takes_the_place_of_the_own(pace: Pace, clock: Clock) -> None:
    take(pace, clock, 1, 0.125)
    pace.stride = 2
    pace.count_step()
    assert not pace.is_wait_due
    pace.count_step()
    assert pace.is_wait_due


def test_the_speed_leaves_out_the_compilation_in_the_first_step_of_the_run(pace: Pace, clock: Clock) -> None:
    take(pace, clock, 1, 100.0)
    assert pace.images_per_second == 0  # nothing but compilation yet
    take(pace, clock, 2, 4.0)
    assert pace.images_per_second == 2 * BATCH / 4
    take(pace, clock, 4, 2.0, epoch_is_over=True)
    assert pace.images_per_second == 6 * BATCH / 6


def test_later_epochs_count_from_their_first_step(pace: Pace, clock: Clock) -> None:
    take(pace, clock, 1, 100.0)
    take(pace, clock, 3, 1.0, epoch_is_over=True)
    clock.now += 50  # validation
    pace.begin_epoch()
    take(pace, clock, 1, 0.5)
    assert pace.images_per_second == BATCH / 0.5
    take(pace, clock, 3, 1.5, epoch_is_over=True)
    assert pace.images_per_second == 4 * BATCH / 2


def test_a_first_epoch_that_its_first_wait_ends_has_a_speed(pace: Pace, clock: Clock) -> None:
    take(pace, clock, 1, 4.0, epoch_is_over=True)
    assert pace.images_per_second == BATCH / 4
    pace.begin_epoch()
    take(pace, clock, 1, 2.0)  # compiled by now
    assert pace.images_per_second == BATCH / 2


def test_the_seconds_of_an_epoch_hold_its_compilation(pace: Pace, clock: Clock) -> None:
    take(pace, clock, 1, 100.0)
    clock.now += 5
    assert pace.epoch_seconds() == 105
    pace.begin_epoch()
    clock.now += 3
    assert pace.epoch_seconds() == 3
