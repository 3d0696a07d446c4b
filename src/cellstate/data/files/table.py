"""A table with a row a time step, from CSV or Parquet, and its clock; every complaint names the line."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from cellstate.data.files.reading import existing_file
from cellstate.errors import RequestError, did_you_mean

TIMES = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d")
FILL = "data.missing=fill repeats the last value before them"


class Table:
    """The columns of one file. ``line(i)`` is where row ``i`` (from 0) stands in it."""

    def __init__(self, frame: pl.DataFrame, name: str, *, header_lines: int) -> None:
        self.frame, self.name, self._header_lines = frame, name, header_lines

    def __len__(self) -> int:
        return self.frame.height

    @property
    def columns(self) -> list[str]:
        """The names of all columns."""
        return self.frame.columns

    def line(self, row: int) -> str:
        """Return where a row stands: a line of a text file, a row of a Parquet file."""
        return f"line {row + 1 + self._header_lines}" if self._header_lines else f"row {row + 1}"

    def only_numeric_column(self, key: str) -> str:
        """Return the one numeric column.

        Raises:
            RequestError: there are several, or none; they are listed.
        """
        numeric = [name for name in self.columns if self.frame[name].dtype.is_numeric()]
        numeric = numeric or [name for name in self.columns if _mostly(self.frame[name], pl.Float64)]
        if len(numeric) == 1:
            return numeric[0]
        found = f"the numeric columns are: {', '.join(numeric)}" if numeric else "no column is numeric"
        raise RequestError(f"{self.name}: which column is to be forecast? {found}; choose with {key}=COLUMN")

    def column(self, name: str, key: str) -> pl.Series:
        """Return a column by name.

        Raises:
            RequestError: it is not there; the columns are listed.
        """
        if name not in self.columns:
            there = ", ".join(self.columns)
            hint = did_you_mean(name, self.columns)
            hint = hint if "did you mean" in hint else ""
            raise RequestError(f"{self.name}: no column {name!r} for {key}{hint} (the columns are: {there})")
        return self.frame[name]

    def numbers(self, names: Sequence[str], *, fill: bool) -> np.ndarray:
        """Return columns as ``(N, C)`` float64.

        Raises:
            RequestError: a cell is no number, or (unless ``fill``) empty, NaN or infinite; the lines are named.
        """
        return np.stack([self._numeric(name, fill=fill) for name in names], axis=1)

    def _numeric(self, name: str, *, fill: bool) -> np.ndarray:
        column = self.column(name, key="data.target")
        if not column.dtype.is_numeric():
            parsed = column.cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False)
            empty = column.cast(pl.String).str.strip_chars().str.to_lowercase().is_in(["", "nan", "na", "null"])
            wrong = (parsed.is_null() & column.is_not_null() & ~empty.fill_null(True)).arg_true()
            if len(wrong):
                row = int(wrong[0])
                raise RequestError(
                    f"{self.name}, {self.line(row)}: column {name!r} holds {str(column[row])!r}, which is no number; "
                    "mend the file, or choose another data.target"
                )
            column = parsed
        values = column.cast(pl.Float64).fill_null(float("nan")).to_numpy().copy()
        holes = np.flatnonzero(~np.isfinite(values))
        if len(holes) and not fill:
            raise RequestError(
                f"{self.name}, {self._lines(holes)}: column {name!r} is empty or not finite in {len(holes):,} "
                f"row{'s' if len(holes) > 1 else ''}; mend the file, or {FILL}"
            )
        if len(holes):
            values = self._filled(values, holes, name)
        return values

    def _lines(self, rows: np.ndarray) -> str:
        shown = ", ".join(self.line(int(row)).split()[-1] for row in rows[:5])
        word = self.line(0).split()[0] + ("s" if len(rows) > 1 else "")
        return f"{word} {shown}" + (", …" if len(rows) > 5 else "")

    def _filled(self, values: np.ndarray, holes: np.ndarray, name: str) -> np.ndarray:
        if holes[0] == 0:
            raise RequestError(
                f"{self.name}, {self.line(0)}: column {name!r} begins with an empty cell, and there is no value "
                "before it to repeat; remove the first rows"
            )
        source = np.arange(len(values))
        source[holes] = 0
        return values[np.maximum.accumulate(source)]

    def _not_dates(self, column: pl.Series) -> str:
        """Return which cell of a column that should hold times does not, or that none does."""
        form = "write times like 2026-01-31 or 2026-01-31 13:00:00"
        if _mostly(column, pl.Datetime):
            row = int((_parsed(column, pl.Datetime).is_null() & column.is_not_null()).arg_true()[0])
            return (
                f"{self.name}, {self.line(row)}: column {column.name!r} holds {column[row]!r}, which is no time; {form}"
            )
        return (
            f"{self.name}: column {column.name!r} (data.time) holds {column.dtype} and no dates; "
            f"{form} ({self.line(0)}: {column[0]!r})"
        )

    def clock(self, name: str | None) -> Clock | None:
        """Return the time column as a clock; without a name the first column of dates, None if there is none.

        Raises:
            RequestError: the named column is not there or holds something else than times.
        """
        if name is None:
            dated = [column for column in self.columns if self.frame[column].dtype in (pl.Datetime, pl.Date)]
            dated = dated or [column for column in self.columns if _mostly(self.frame[column], pl.Datetime)]
            if not dated:
                return None
            name = dated[0]
        column = self.column(name, key="data.time")
        if column.dtype not in (pl.Datetime, pl.Date):
            raise RequestError(self._not_dates(column))
        missing = column.is_null().arg_true()
        if len(missing):
            raise RequestError(f"{self.name}, {self.line(int(missing[0]))}: column {name!r} has no time there")
        return Clock(self, name, column.cast(pl.Datetime("us")))


def _mostly(column: pl.Series, kind: type[pl.Float64] | type[pl.Datetime]) -> bool:
    """Say whether most of a column of text reads as numbers or as times: then the rest of it is a slip."""
    if column.dtype != pl.String:
        return False
    return len(column) > 0 and 2 * int(_parsed(column, kind).is_not_null().sum()) > len(column)


def _parsed(column: pl.Series, kind: type[pl.Float64] | type[pl.Datetime]) -> pl.Series:
    """Return a column of text as numbers or times, null where a cell is neither."""
    stripped = column.str.strip_chars()
    if kind is pl.Float64:
        return stripped.cast(pl.Float64, strict=False)
    for form in TIMES:
        parsed = stripped.str.to_datetime(form, strict=False)
        if parsed.is_not_null().any():
            return parsed
    return parsed


@dataclass(frozen=True)
class Step:
    """A unit of time and how many steps of it make its usual season."""

    name: str
    season: int


# Hours, days and months have the season that everyone expects; other steps have none until data.season gives one.
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


class Clock:
    """Equally spaced times, ``(N,)``; in calendar months where that is what they are."""

    def __init__(self, table: Table, name: str, times: pl.Series) -> None:
        self.table, self.name, self.times = table, name, times
        if len(times) < 2:
            raise RequestError(f"{table.name}: {len(times)} row; a series needs more")
        months = (times.dt.year().cast(pl.Int64) * 12 + times.dt.month().cast(pl.Int64)).to_numpy()
        seconds = times.dt.epoch("us").to_numpy()
        whole_months = times.dt.day().n_unique() == 1 or bool((times.dt.month_end() == times).all())
        calendar = whole_months and np.median(np.diff(months)) >= 1
        self.ticks = months if calendar else seconds
        steps, counts = np.unique(np.diff(self.ticks), return_counts=True)
        self.tick = int(steps[counts.argmax()])  # the most frequent; the shortest of several
        self._check_order()
        known = _CALENDAR.get(self.tick) if calendar else _STEPS.get(timedelta(microseconds=self.tick))
        unit = f"{self.tick} months" if calendar else str(timedelta(microseconds=self.tick))
        self.step = known.name if known else unit
        self.season = known.season if known else 1

    def _check_order(self) -> None:
        backwards = np.flatnonzero(np.diff(self.ticks) <= 0)
        if len(backwards):
            row = int(backwards[0])
            same = self.ticks[row] == self.ticks[row + 1]
            raise RequestError(
                f"{self.table.name}, {self.table.line(row + 1)}: the time {self._time(row + 1)} "
                + ("stands there twice" if same else f"comes after {self._time(row)}")
                + "; sort the file by time, one row a step"
            )

    def _time(self, row: int) -> str:
        moment: datetime = self.times[row]
        return str(moment)

    def regular(self, values: np.ndarray, *, fill: bool) -> np.ndarray:
        """Return ``values (N, C)`` with a row for every step.

        Raises:
            RequestError: steps are skipped and ``fill`` is off, or times lie off the grid; the line is named.
        """
        jumps = np.diff(self.ticks)
        off_grid = np.flatnonzero(jumps % self.tick)
        if len(off_grid):
            row = int(off_grid[0])
            raise RequestError(
                f"{self.table.name}, {self.table.line(row + 1)}: the time goes from {self._time(row)} to "
                f"{self._time(row + 1)}, the usual step is one {self.step}; resample the series to equal steps"
            )
        gaps = np.flatnonzero(jumps > self.tick)
        if len(gaps) and not fill:
            row = int(gaps[0])
            skipped = int(jumps[gaps].sum() // self.tick - len(gaps))
            raise RequestError(
                f"{self.table.name}, {self.table.line(row + 1)}: a gap in the series, from {self._time(row)} to "
                f"{self._time(row + 1)} ({skipped:,} steps missing in {len(gaps):,} gap{'s' if len(gaps) > 1 else ''} "
                f"of the file); add them, or {FILL}"
            )
        return np.repeat(values, np.append(jumps // self.tick, 1), axis=0)


def read_table(path: str, key: str) -> Table:
    """Read a CSV file (separator comma, semicolon or tab, by its header) or a Parquet file.

    Raises:
        RequestError: no such file, an empty one, or not the format that its name says.
    """
    file = existing_file(path, key)
    try:
        if file.suffix.lower() in (".parquet", ".pq"):
            return Table(pl.read_parquet(file), path, header_lines=0)
        with file.open(encoding="utf-8-sig") as stream:
            header = stream.readline()
        separator = max(",;\t", key=header.count)
        frame = pl.read_csv(file, separator=separator, try_parse_dates=True, infer_schema_length=None)
    except (pl.exceptions.PolarsError, UnicodeDecodeError, OSError) as error:
        if file.suffix.lower() not in (".parquet", ".pq") and (problem := _broken_line(file, path)):
            raise RequestError(problem) from error
        reason = str(error).splitlines()[0]
        raise RequestError(f"{key}={path}: cannot be read as a table ({reason}); give CSV or Parquet") from error
    if frame.height == 0:
        raise RequestError(f"{key}={path}: the table has a header and no rows")
    names = [name.strip() for name in frame.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RequestError(f"{key}={path}, line 1: two columns are called {twice[0]!r}; rename one of them")
    return Table(frame.rename(dict(zip(frame.columns, names, strict=True))), path, header_lines=1)


def _broken_line(file: Path, path: str) -> str | None:
    """Return what is wrong with which line of a text file: bytes that are no UTF-8, or more cells than columns."""
    raw = file.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return f"{path}, line {line}: byte {raw[error.start]:#04x} is not UTF-8; save the file as UTF-8"
    separator = max(",;\t", key=text.partition("\n")[0].count)
    rows = csv.reader(text.splitlines(keepends=True), delimiter=separator)
    columns = len(next(rows, []))
    for row in rows:
        if len(row) > columns:
            return f"{path}, line {rows.line_num}: {len(row)} cells in a table of {columns} columns; mend the file"
    return None
