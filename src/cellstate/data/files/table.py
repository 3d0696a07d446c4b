"""A table with one row per time step, from CSV or Parquet: its numbers and times; every error names the line."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from typing import Literal

import numpy as np
import polars as pl

from cellstate.data.files.clock import FILL, Clock
from cellstate.data.files.delimited import first_lines, ragged_line, read_delimited, twice_in_header
from cellstate.data.files.reading import existing_file
from cellstate.data.files.times import number_times, read_times, without_zone
from cellstate.errors import RequestError, did_you_mean, shortened

FORM = "write times like 2026-01-31 or 2026-01-31 13:00:00, or set data.time_format to their format, such as %d/%m/%Y"
# 12,5 or 1.234,5; whole numbers and 1.234 may occur in such a column but do not identify one.
COMMA = r"^[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+),\d+(?:[eE][+-]?\d+)?$"
GROUPED = r"^[+-]?\d{1,3}(?:\.\d{3})+(?:,|$)"
HOLES = ["", "nan", "na", "null"]
TIME_NAMES = frozenset({"time", "date", "datetime", "timestamp", "ds", "year", "month", "day"})


class Table:
    """The columns of one file, or the rows of one series in it. ``line(i)`` is the position of row ``i`` (from 0).

    Attributes:
        name: the name of the file in errors.
        whose: `` of series 'A'`` if these are the rows of one of several series, else empty.
        decimal: the decimal separator in text columns; None infers it for each column.
    """

    def __init__(
        self,
        frame: pl.DataFrame,
        name: str,
        *,
        header_lines: int,
        decimal: str | None = None,
        lines: Callable[[], np.ndarray] | None = None,
    ) -> None:
        self.frame, self.name, self.decimal, self.whose = frame, name, decimal, ""
        self._header_lines, self._find_lines = header_lines, lines
        self._rows: np.ndarray | None = None  # of the file, if this is a part of it

    def __len__(self) -> int:
        return self.frame.height

    @property
    def columns(self) -> list[str]:
        """The names of all columns."""
        return self.frame.columns

    @cached_property
    def _lines_of_file(self) -> np.ndarray | None:
        return None if self._find_lines is None else self._find_lines()

    def line(self, row: int) -> str:
        """Return the position of a row: a line of a text file, a row of a Parquet file."""
        row = row if self._rows is None else int(self._rows[row])
        if not self._header_lines:
            return f"row {row + 1}"
        lines = self._lines_of_file
        return f"line {row + 1 + self._header_lines if lines is None or row >= len(lines) else lines[row]}"

    def series(self, key: str | None) -> dict[str, Table]:
        """Return the rows of each series by the id in column ``key``, in order of first appearance.

        Raises:
            RequestError: the column does not exist, or a row has no id.
        """
        if key is None:
            return {"": self}
        column = self.complete_column(key, key="data.id", what="id")
        numbered = self.frame.select(id=column.cast(pl.String)).with_row_index("row")
        groups = numbered.group_by("id", maintain_order=True).agg("row")
        return {
            name: self.rows(rows.to_numpy(), f" of series {name!r}")
            for name, rows in zip(groups["id"].to_list(), groups["row"], strict=True)
        }

    def rows(self, rows: np.ndarray, whose: str) -> Table:
        """Return the rows of one series; ``whose`` names it in errors, such as `` of series 'A'``."""
        part = self.only(self.columns)
        part.frame, part.whose = self.frame[rows], whose
        part._rows = rows if self._rows is None else self._rows[rows]
        return part

    def only(self, columns: Sequence[str]) -> Table:
        """Return the table with some of its columns."""
        _ = self.decimal_commas  # inferred from entire columns, not from a part of them
        part = copy.copy(self)
        part.frame = self.frame.select(columns)
        return part

    def of_file(self, column: pl.Series) -> pl.Series:
        """Return the rows of this part in a column of the file."""
        return column if self._rows is None else column.gather(self._rows)

    # ------------------------------------------------------------------ numbers

    def only_numeric_column(self, key: str, exclude: Collection[str] = ()) -> str:
        """Return the only numeric column not in ``exclude``.

        Raises:
            RequestError: there are none or several; they are listed.
        """
        left = [name for name in self.columns if name not in exclude]
        numeric = [name for name in left if self.frame[name].dtype.is_numeric()]
        numeric = numeric or [name for name in left if self.mostly_numbers(name)]
        if len(numeric) == 1:
            return numeric[0]
        found = f"numeric columns: {shortened(numeric)}" if numeric else "no column is numeric"
        each = ", or data.layout=columns if each is a series of its own" if len(numeric) > 1 else ""
        raise RequestError(f"{self.name}: which column should be forecast? {found}; set {key}=COLUMN{each}")

    def column(self, name: str, key: str) -> pl.Series:
        """Return a column by name.

        Raises:
            RequestError: it does not exist; the columns are listed.
        """
        if name not in self.columns:
            hint = did_you_mean(name, self.columns)
            hint = hint if "did you mean" in hint else ""
            raise RequestError(f"{self.name}: no column {name!r} for {key}{hint} (columns: {shortened(self.columns)})")
        return self.frame[name]

    def complete_column(self, name: str, key: str, what: str) -> pl.Series:
        """Return a column by name.

        Raises:
            RequestError: it does not exist, or a cell is empty; the line is named.
        """
        column = self.column(name, key)
        empty = column.is_null().arg_true()
        if len(empty):
            raise RequestError(f"{self.name}, {self.line(int(empty[0]))}: column {name!r} ({key}) has no {what}")
        return column

    @cached_property
    def decimal_commas(self) -> frozenset[str]:
        """The text columns with a decimal comma."""
        texts = [name for name in self.columns if self.frame[name].dtype == pl.String and self.decimal != "."]
        if self.decimal == ",":
            return frozenset(texts)

        def has_commas(name: str) -> bool:
            cells = self.frame[name].str.strip_chars()
            commas, whole = (int(cells.str.contains(form).sum()) for form in (COMMA, r"^[+-]?[\d.]+$"))
            return commas > 0 and 2 * (commas + whole) > len(cells)

        return frozenset(name for name in texts if has_commas(name))

    def mostly_numbers(self, name: str) -> bool:
        """Return whether a text column mostly parses as numbers (the rest are then typos)."""
        column = self.frame[name]
        if column.dtype != pl.String:
            return False
        return len(column) > 0 and 2 * int(self.as_numbers(name).is_not_null().sum()) > len(column)

    def as_numbers(self, name: str) -> pl.Series:
        """Return a column as float64, null where a cell is not a number; true is 1 and false 0."""
        column = self.frame[name]
        if column.dtype.is_numeric() or column.dtype == pl.Boolean:
            return column.cast(pl.Float64)
        text = column.cast(pl.String).str.strip_chars()
        if name in self.decimal_commas:
            grouped = text.str.contains(GROUPED).fill_null(False)
            text = text.zip_with(~grouped, text.str.replace_all(".", "", literal=True)).str.replace(",", ".")
        return text.cast(pl.Float64, strict=False)

    def numbers(self, names: Sequence[str], *, fill: bool, key: str = "data.target") -> np.ndarray:
        """Return columns as ``(N, C)`` float64; true is 1 and false 0.

        Raises:
            RequestError: a cell is not a number, or (unless ``fill``) empty, NaN or infinite; the lines are named.
        """
        columns = [self._numeric(name, fill=fill, key=key) for name in names]
        return np.stack(columns, axis=1) if columns else np.empty((len(self), 0))

    def _numeric(self, name: str, *, fill: bool, key: str) -> np.ndarray:
        values = self.numbers_with_holes(name, key)
        holes = np.flatnonzero(~np.isfinite(values))
        if len(holes) and not fill:
            raise RequestError(
                f"{self.name}, {self._lines(holes)}: column {name!r} is empty or not finite in {len(holes):,} "
                f"row{'s' if len(holes) > 1 else ''}{self.whose}; fix the file, or {FILL}"
            )
        return self._filled(values, holes, name) if len(holes) else values

    def numbers_with_holes(self, name: str, key: str) -> np.ndarray:
        """Return a column as ``(N,)`` float64, NaN where a cell is empty.

        Raises:
            RequestError: a cell is not a number; the line is named.
        """
        column = self.column(name, key=key)
        parsed = self.as_numbers(name)
        if parsed.null_count() > column.null_count():
            empty = column.cast(pl.String).str.strip_chars().str.to_lowercase().is_in(HOLES)
            wrong = (parsed.is_null() & column.is_not_null() & ~empty.fill_null(True)).arg_true()
            if len(wrong):
                row = int(wrong[0])
                raise RequestError(
                    f"{self.name}, {self.line(row)}: column {name!r} contains {str(column[row])!r}, which is not a "
                    f"number; fix the file, or choose another {key}"
                )
        return parsed.fill_null(float("nan")).to_numpy().copy()

    def _lines(self, rows: np.ndarray) -> str:
        shown = ", ".join(self.line(int(row)).split()[-1] for row in rows[:5])
        word = self.line(0).split()[0] + ("s" if len(rows) > 1 else "")
        return f"{word} {shown}" + (", …" if len(rows) > 5 else "")

    def _filled(self, values: np.ndarray, holes: np.ndarray, name: str) -> np.ndarray:
        if holes[0] == 0:
            raise RequestError(
                f"{self.name}, {self.line(0)}: column {name!r} starts with an empty cell{self.whose}, so there is "
                "no previous value to repeat; remove the first rows"
            )
        source = np.arange(len(values))
        source[holes] = 0
        return values[np.maximum.accumulate(source)]

    # ------------------------------------------------------------------ times

    def clock(self, name: str | None, form: str | None = None) -> Clock | None:
        """Return the column found by ``times`` as a clock."""
        found = self.times(name, form)
        return None if found is None else Clock(self, *found)

    def times(
        self, name: str | None, form: str | None = None, exclude: Collection[str] = ()
    ) -> tuple[str, pl.Series] | None:
        """Return the name and ``(N,)`` times of the time column, parsed with ``form`` or else an inferred format.

        Without a name it is the first date column not in ``exclude``; None if there is none.

        Raises:
            RequestError: the named column does not exist or does not contain times, a cell is not a time, or the order
                of day and month is ambiguous.
        """
        if name is None:
            name = self._time_column(form, exclude)
            if name is None:
                return None
        times = self._read_times(self.column(name, key="data.time"), form)
        column = self.complete_column(name, key="data.time", what="time")
        wrong = times.is_null().arg_true()
        if len(wrong):
            row = int(wrong[0])
            raise RequestError(
                f"{self.name}, {self.line(row)}: column {name!r} contains {str(column[row])!r}, which is not a "
                f"time; {FORM}"
            )
        return name, times

    def _time_column(self, form: str | None, exclude: Collection[str]) -> str | None:
        left = [name for name in self.columns if name not in exclude]
        dated = [name for name in left if self.frame[name].dtype in (pl.Datetime, pl.Date)]
        texts = [name for name in left if self.frame[name].dtype == pl.String and not self.mostly_numbers(name)]
        dated = dated or [name for name in texts if 2 * read_times(self.frame[name], form).read > len(self)]
        whole = [name for name in left if self.frame[name].dtype.is_integer()]
        dated = dated or [name for name in whole if number_times(self.frame[name], named=False) is not None]
        if form is not None and not dated:
            raise RequestError(f"{self.name}: no column has times in data.time_format={form}; set data.time=COLUMN")
        return dated[0] if dated else None

    def _read_times(self, column: pl.Series, form: str | None) -> pl.Series:
        wanted = f"not dates; {FORM}" if form is None else f"not times in data.time_format={form}"
        problem = (
            f"{self.name}: column {column.name!r} (data.time) contains {column.dtype}, {wanted} "
            f"({self.line(0)}: {str(column[0])!r})"
        )
        if column.dtype in (pl.Datetime, pl.Date):
            return without_zone(column)
        if column.dtype.is_integer() and form is None:
            times = number_times(column, named=True)
            if times is None:
                raise RequestError(problem)
            return times
        if column.dtype != pl.String and form is None:
            raise RequestError(problem)
        reading = read_times(column.cast(pl.String), form)
        if not 2 * reading.read > len(column):
            raise RequestError(problem)
        if reading.other is not None:
            first = column.drop_nulls()[0]
            raise RequestError(
                f"{self.name}: column {column.name!r} contains times such as {first!r}, in which the order of day and "
                f"month is ambiguous; set data.time_format='{reading.form}' or '{reading.other}'"
            )
        return reading.times

    def possible_times(self, exclude: Collection[str]) -> list[str]:
        """Return the columns that may contain times in an unrecognised format, with their first cell."""

        def may_be(name: str) -> bool:
            column = self.frame[name]
            if column.dtype == pl.String:
                return not self.mostly_numbers(name) and 2 * column.n_unique() > len(column)
            return column.dtype.is_integer() and name.lower() in TIME_NAMES

        return [f"{name!r} ({self.frame[name][0]})" for name in self.columns if name not in exclude and may_be(name)]


def read_table(path: str, key: str, decimal: Literal[".", ","] | None = None) -> Table:
    """Read a CSV file (comma, semicolon or tab separated, inferred from the header) or a Parquet file.

    Raises:
        RequestError: the file does not exist, is empty, or is not in the format of its suffix.
    """
    file = existing_file(path, key)
    parquet = file.suffix.lower() in (".parquet", ".pq")
    try:
        if parquet:
            return Table(pl.read_parquet(file), path, header_lines=0, decimal=decimal)
        frame, separator = read_delimited(file, as_text=decimal == ",")
    except (pl.exceptions.PolarsError, UnicodeDecodeError, OSError) as error:
        if not parquet and (problem := ragged_line(file, path)):
            raise RequestError(problem) from error
        reason = str(error).splitlines()[0]
        raise RequestError(f"{key}={path}: cannot be read as a table ({reason}); give CSV or Parquet") from error
    if frame.height == 0:
        raise RequestError(f"{key}={path}: the table has a header but no rows")
    if twice := twice_in_header(file):
        raise RequestError(f"{key}={path}, line 1: two columns are called {twice!r}; rename one of them")
    if frame[frame.columns[-1]].null_count() and (problem := ragged_line(file, path)):
        raise RequestError(problem)
    if decimal is None and separator == ",":
        decimal = "."  # "1,234" in a comma separated file has a thousands separator
    return Table(frame, path, header_lines=1, decimal=decimal, lines=lambda: first_lines(file))
