"""How a table holds its series: in long format, or wide, with a row or a column for each series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from cellstate.data.files.table import HOLES, TIME_NAMES, Table
from cellstate.data.files.times import read_times
from cellstate.errors import RequestError

Layout = Literal["long", "rows", "columns"]
LEAST_VALUES = 2  # columns besides the ids of a table with a row for each series


@dataclass(frozen=True)
class SeriesFormat:
    """What the user says of the files of a data set; see ``SeriesData``."""

    layout: Layout | None = None
    target: str | Sequence[str] | None = None
    id: str | None = None
    past: str | Sequence[str] | None = None
    known: str | Sequence[str] | None = None
    static: str | Sequence[str] | None = None
    calendar: bool = False
    time: str | None = None
    time_format: str | None = None
    decimal: Literal[".", ","] | None = None
    missing: Literal["error", "fill"] = "error"

    @property
    def fill(self) -> bool:
        """Whether gaps repeat the last value."""
        return self.missing == "fill"

    @property
    def roles(self) -> dict[str, list[str]]:
        """Config key -> the columns given for it, that only a table in long format has."""
        given = {"target": self.target, "id": self.id, "past": self.past, "known": self.known, "static": self.static}
        return {f"data.{key}": listed(names) for key, names in given.items() if names is not None}


def layout_of(table: Table, form: SeriesFormat) -> Layout:
    """Return the layout of a table: the given one, else the one that it has the form of.

    Raises:
        RequestError: other options do not go with the given layout.
    """
    if form.layout is not None:
        allowed = {"long": tuple(form.roles), "rows": ("data.id",), "columns": ()}[form.layout]
        wide_only = [key for key in form.roles if key not in allowed]
        if form.layout == "rows":
            wide_only += [key for key, given in (("data.time", form.time), ("data.calendar", form.calendar)) if given]
        if wide_only:
            each = "a row" if form.layout == "rows" else "a column"
            raise RequestError(
                f"data.layout={form.layout} and {wide_only[0]}: a table with {each} for each series has no such "
                "column; omit one of them"
            )
        return form.layout
    if form.roles:
        return "long"
    if form.time is None and not form.calendar and has_rows(table):
        return "rows"
    found = table.times(form.time, form.time_format)
    values = [name for name in table.columns if found is None or name != found[0]]
    numeric = all(is_numeric(table, name) for name in values)
    return "columns" if len(values) > 1 and numeric and not any(is_index(table, name) for name in values) else "long"


def has_rows(table: Table) -> bool:
    """Return whether a table has a row for each series: unique ids that are neither numbers nor times, then numbers."""
    first, *others = table.columns
    ids = table.frame[first]
    if len(others) < LEAST_VALUES or ids.dtype != pl.String or ids.has_nulls() or ids.n_unique() < len(ids):
        return False
    if table.mostly_numbers(first) or 2 * read_times(ids, None).read > len(ids):
        return False
    return all(is_numeric(table, name) for name in others)


def is_numeric(table: Table, name: str) -> bool:
    """Return whether a column is empty or numeric, or is text of which most cells are numbers (the rest are typos)."""
    column = table.frame[name]
    if column.dtype.is_numeric() or column.null_count() == len(column):
        return True
    if column.dtype != pl.String:
        return False
    filled = int(filled_cells(table, name).sum())
    return 2 * int(table.as_numbers(name).is_not_null().sum()) >= filled


def is_index(table: Table, name: str) -> bool:
    """Return whether a column numbers the rows or names their times, such as 0, 1, 2, … or years."""
    column = table.frame[name]
    if not column.dtype.is_integer() or column.has_nulls():
        return False
    steps = np.diff(column.to_numpy())
    return name.lower() in TIME_NAMES or (len(steps) > 1 and steps[0] != 0 and bool((steps == steps[0]).all()))


def filled_cells(table: Table, name: str) -> np.ndarray:
    """Return which cells of a column are not empty, ``(N,)`` bool."""
    cells = table.frame[name].cast(pl.String).str.strip_chars().str.to_lowercase()
    return (cells.is_not_null() & ~cells.is_in(HOLES).fill_null(True)).to_numpy()


def listed(names: str | Sequence[str] | None) -> list[str]:
    """Return no, one or several names as a list."""
    return [] if names is None else [names] if isinstance(names, str) else list(names)
