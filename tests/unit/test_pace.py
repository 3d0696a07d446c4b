"""Speed and time left: right where they can be known, and not said before."""

import pytest

from cellstate.callbacks.pace import WINDOW, Pace, clock_time


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def train(pace, clock, first, last, seconds, items=32):
    """Work off the steps from ``first`` to ``last``, each in so many seconds."""
    for step in range(first, last + 1):
        clock.now += seconds
        pace.mark(step, step * items)


def test_nothing_is_said_before_a_second_of_training_after_the_first_step(clock):
    pace = Pace(clock)
    clock.now += 20  # of the first step, which is no measure of the others
    pace.mark(1, 32)
    train(pace, clock, 2, 10, 0.1)
    assert pace.left(100) == (None, False)
    assert pace.items_a_second is None
    train(pace, clock, 11, 12, 0.1)
    assert pace.items_a_second == pytest.approx(320)
    assert pace.left(100) == (pytest.approx(10), True)


def test_the_time_left_is_a_lower_bound_until_a_validation_was_timed(clock):
    pace = Pace(clock)
    train(pace, clock, 1, 11, 0.5)
    assert pace.left(100, validations=4) == (pytest.approx(50), False)
    pace.validation_begins()
    clock.now += 3
    pace.validation_ends()
    assert pace.left(100, validations=4) == (pytest.approx(62), True)
    train(pace, clock, 12, 20, 0.5)
    assert pace.seconds_a_step == pytest.approx(0.5), "a validation is no training"
    assert pace.items_a_second == pytest.approx(64)


def test_a_run_that_goes_on_is_timed_by_its_own_steps(clock):
    pace = Pace(clock)
    train(pace, clock, 5001, 5011, 0.2)
    assert pace.left(1000) == (pytest.approx(200), True)


def test_the_speed_is_that_of_late(clock):
    pace = Pace(clock)
    train(pace, clock, 1, 1000, 0.1)
    train(pace, clock, 1001, 1001 + int(2 * WINDOW), 1.0)
    assert pace.seconds_a_step == pytest.approx(1.0)


def test_a_step_that_takes_longer_than_the_window_is_timed_too(clock):
    pace = Pace(clock)
    train(pace, clock, 1, 4, 3 * WINDOW)
    assert pace.left(2) == (pytest.approx(6 * WINDOW), True)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.2, "0:00"), (59.7, "1:00"), (754, "12:34"), (3661, "1:01:01"), (2 * 86400 + 3 * 3600 + 245, "2 d 3:04:05")],
)
def test_times_are_written_as_on_a_clock(seconds, shown):
    assert clock_time(seconds) == shown
