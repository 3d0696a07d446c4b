"""Training speed and estimated remaining time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from cellstate.data.batch import Batch

WINDOW = 30.0  # seconds of training over which the speed is measured
BASIS = 1.0  # minimum seconds of training for an estimate


class Pace:
    """Measures the time of training steps, in a window, and of validations, over the entire run.

    The first step is not counted, as it includes initialisation.

    Args:
        clock: returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._paused = 0.0  # seconds within validations
        self._pause_began: float | None = None
        self._validations = 0
        self._marks: deque[tuple[float, int, int]] = deque()  # seconds of training, step, items

    @property
    def elapsed(self) -> float:
        """Seconds since the start, including validations."""
        return self._clock() - self._began

    @property
    def started(self) -> bool:
        """Whether a step has been completed."""
        return bool(self._marks)

    def mark(self, step: int, items: int) -> None:
        """Record that ``step`` optimiser steps and ``items`` samples or tokens are done."""
        trained = self.elapsed - self._paused
        self._marks.append((trained, step, items))
        while len(self._marks) > 2 and trained - self._marks[1][0] >= WINDOW:
            self._marks.popleft()

    def validation_begins(self) -> None:
        """Pause the training clock."""
        self._pause_began = self._clock()

    def validation_ends(self) -> None:
        """Resume the training clock."""
        if self._pause_began is not None:
            self._paused += self._clock() - self._pause_began
            self._validations += 1
            self._pause_began = None

    @property
    def seconds_a_step(self) -> float | None:
        """Seconds of a training step; None before there is an estimate."""
        seconds, steps, _ = self._span()
        return seconds / steps if seconds >= BASIS and steps else None

    @property
    def seconds_a_validation(self) -> float | None:
        """Seconds of a validation; None before the first one."""
        return self._paused / self._validations if self._validations else None

    @property
    def items_a_second(self) -> float | None:
        """Samples or tokens a second of training; None before there is an estimate."""
        seconds, _, items = self._span()
        return items / seconds if seconds >= BASIS else None

    def left(self, steps: float, validations: float = 0) -> tuple[float | None, bool]:
        """Return the seconds for a number of steps and validations; None before there is an estimate.

        The second value is False if the first is a lower bound, as no validation has been timed yet.
        """
        if self.seconds_a_step is None:
            return None, False
        training, each = steps * self.seconds_a_step, self.seconds_a_validation
        if each is None:
            return training, not validations
        return training + validations * each, True

    def _span(self) -> tuple[float, int, int]:
        if not self._marks:
            return 0.0, 0, 0
        (began, *before), (now, *after) = self._marks[0], self._marks[-1]
        return now - began, after[0] - before[0], after[1] - before[1]


def items_of(batch: Batch) -> int:
    """Return the size of a batch: tokens for streams, otherwise rows."""
    return batch.inputs.numel() if batch.reset is not None else len(batch.inputs)


def unit_of(batch: Batch) -> str:
    """Return the unit of ``items_of``."""
    return "samples" if batch.reset is None else "tokens"


def clock_time(seconds: float) -> str:
    """Return seconds as ``m:ss``, ``h:mm:ss`` or ``2 d 3:04:05``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours}:{minutes:02}:{rest:02}"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
