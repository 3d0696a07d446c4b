"""Equally spaced times: their step, its usual season, gaps, and calendar features."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from cellstate.errors import RequestError

if TYPE_CHECKING:
    from cellstate.data.files.table import Table

FILL = "data.missing=fill repeats the last value before them"


@dataclass(frozen=True)
class Step:
    """A unit of time and the usual season in steps of it."""

    name: str
    season: int


# Steps with a conventional season; others have none by default.
_STEPS = {
    timedelta(minutes=5): Step("5 minutes", 288),
    timedelta(minutes=10): Step("10 minutes", 144),
    timedelta(minutes=15): Step("15 minutes", 96),
    timedelta(minutes=30): Step("30 minutes", 48),
    timedelta(hours=1): Step("hour", 24),
    timedelta(days=1): Step("day", 7),
    timedelta(days=7): Step("week", 52),
}
_CALENDAR = {1: Step("month", 12), 3: Step("quarter", 4), 12: Step("year", 1)}
_DAY = np.timedelta64(1, "D")


class Clock:
    """Equally spaced times, ``(N,)``, possibly in calendar months.

    With ``after``, the times of the same series in the file before, whose step is that of both.

    Attributes:
        step: time between two rows, as text.
        season: the usual season in steps, 1 if there is none.
    """

    def __init__(self, table: Table, name: str, times: pl.Series, after: Clock | None = None) -> None:
        self.table, self.name, self.times = table, name, times
        if len(times) < 2 and after is None:
            raise RequestError(f"{table.name}: {len(times)} row{table.whose}; a series needs at least 2")
        months = (times.dt.year().cast(pl.Int64) * 12 + times.dt.month().cast(pl.Int64)).to_numpy()
        micros = times.dt.epoch("us").to_numpy()
        if after is None:
            whole_months = times.dt.day().n_unique() == 1 or bool((times.dt.month_end() == times).all())
            self.calendar = bool(whole_months and np.median(np.diff(months)) >= 1)
        else:
            self.calendar = after.calendar
        self.ticks = months if self.calendar else micros
        if after is None:
            steps, counts = np.unique(np.diff(self.ticks), return_counts=True)
            self.tick = int(steps[counts.argmax()])  # the most frequent; ties: the shortest
        else:
            self.tick = after.tick
        self._check_order()
        if after is not None:
            self._check_continues(after)
        known = _CALENDAR.get(self.tick) if self.calendar else _STEPS.get(timedelta(microseconds=self.tick))
        unit = f"{self.tick} months" if self.calendar else str(timedelta(microseconds=self.tick))
        self.step = known.name if known else unit
        self.season = known.season if known else 1

    def _check_order(self) -> None:
        backwards = np.flatnonzero(np.diff(self.ticks) <= 0)
        if len(backwards):
            row = int(backwards[0])
            same = self.ticks[row] == self.ticks[row + 1]
            remedy = "one row per step" + ("" if self.table.whose else ", or select the id column")
            raise RequestError(
                f"{self.table.name}, {self.table.line(row + 1)}: the time {self._time(row + 1)} "
                + ("occurs twice" if same else f"comes after {self._time(row)}")
                + f"{self.table.whose.replace(' of', ' in')}; sort the file by time, with {remedy}"
                + ("" if self.table.whose else " (data.id=COLUMN)")
            )

    def _check_continues(self, before: Clock) -> None:
        if self.ticks[0] - before.ticks[-1] != before.tick:
            whose = self.table.whose.replace(" of", " in")
            raise RequestError(
                f"{self.table.name}, {self.table.line(0)}: the time {self._time(0)} does not continue "
                f"{before.table.name}{whose}, which ends at {before._time(-1)} with one row per {before.step}; "
                "data.test_path must begin one step later"
            )

    def _time(self, row: int) -> str:
        moment: datetime = self.times[row]
        return str(moment)

    def regular(self, values: np.ndarray, *, fill: bool) -> np.ndarray:
        """Return ``values (N, C)`` with one row for every step, repeating values over gaps.

        Raises:
            RequestError: steps are missing and ``fill`` is off, or times are not equally spaced; the line is named.
        """
        jumps = np.diff(self.ticks)
        off_grid = np.flatnonzero(jumps % self.tick)
        if len(off_grid):
            row = int(off_grid[0])
            raise RequestError(
                f"{self.table.name}, {self.table.line(row + 1)}: the time goes from {self._time(row)} to "
                f"{self._time(row + 1)}{self.table.whose}, but the usual step is one {self.step}; resample the series "
                "to equal steps"
            )
        gaps = np.flatnonzero(jumps > self.tick)
        if len(gaps) and not fill:
            row = int(gaps[0])
            skipped = int(jumps[gaps].sum() // self.tick - len(gaps))
            raise RequestError(
                f"{self.table.name}, {self.table.line(row + 1)}: a gap in the series{self.table.whose}, from "
                f"{self._time(row)} to {self._time(row + 1)} ({skipped:,} steps missing in {len(gaps):,} "
                f"gap{'s' if len(gaps) > 1 else ''}); add them, or {FILL}"
            )
        return np.repeat(values, np.append(jumps // self.tick, 1), axis=0)

    def grid(self, rows: int | None = None) -> np.ndarray:
        """Return the time of every step, including gaps, as ``datetime64 (rows,)``; months as their first day.

        With ``rows``, so many steps from the first one on, which may go beyond the last one.
        """
        steps = self.ticks[0] + self.tick * np.arange(rows or (self.ticks[-1] - self.ticks[0]) // self.tick + 1)
        return (steps - (1970 * 12 + 1)).astype("datetime64[M]") if self.calendar else steps.astype("datetime64[us]")


def calendar_features(times: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Return names and values ``(N, K)`` of the calendar features of ``times (N,)``.

    Time of day, day of the week and time of the year, as far as they are longer than a step, are each encoded as sin
    and cos of 2 pi times the phase.
    """
    step = np.median(np.diff(times.astype("datetime64[us]"))) if len(times) > 1 else np.timedelta64(0, "us")
    days = times.astype("datetime64[D]")
    years = times.astype("datetime64[Y]")
    length = ((years + 1).astype("datetime64[D]") - years.astype("datetime64[D]")) / _DAY
    since_midnight = (times.astype("datetime64[us]") - days.astype("datetime64[us]")) / _DAY
    weekday = (days.astype(np.int64) + 3) % 7  # 1970 started on a Thursday; Monday is 0
    phases = {
        "hour": (_DAY, since_midnight),
        "weekday": (7 * _DAY, weekday / 7),
        "year": (366 * _DAY, ((days - years.astype("datetime64[D]")) / _DAY) / length),
    }
    cycles = {name: phase for name, (cycle, phase) in phases.items() if step < cycle}
    names = tuple(f"{name}_{wave}" for name in cycles for wave in ("sin", "cos"))
    waves = [wave(2 * np.pi * phase) for phase in cycles.values() for wave in (np.sin, np.cos)]
    return names, np.stack(waves, axis=1) if waves else np.empty((len(times), 0))
