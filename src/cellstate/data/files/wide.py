"""Wide tables: a row or a column for each series, which may begin later or end earlier than others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from cellstate.data.files.clock import FILL
from cellstate.data.files.layouts import filled_cells
from cellstate.data.files.table import Table
from cellstate.errors import RequestError

VALUE = "value"  # the name of what all series measure, as the table has none


def read_rows(table: Table, ids: str | None, *, fill: bool) -> dict[str, np.ndarray]:
    """Return id -> values ``(N,)`` of a table with a row for each series.

    Args:
        table: its first column, or ``ids``, identifies the series, all others are their values in order. Empty cells
            before the first and after the last value are no part of the series.
        ids: the column that identifies the series; None: the first.
        fill: repeat the last value over empty cells in between.

    Raises:
        RequestError: a row has no id, that of another row, or no value; or a cell is not a number, or empty between
            others (unless ``fill``). Line and column are named.
    """
    ids = ids or table.columns[0]
    names = [name for name in table.columns if name != ids]
    found = table.complete_column(ids, "data.id", "id").cast(pl.String).to_list()
    columns = [table.numbers_with_holes(name, "data.layout") for name in names]
    values = np.stack(columns, axis=1)
    series: dict[str, np.ndarray] = {}
    for row, name in enumerate(found):
        if name in series:
            raise RequestError(
                f"{table.name}, {table.line(row)}: the id {name!r} occurs twice; with a row for each series "
                "(data.layout=rows) every id must be different"
            )
        series[name] = trimmed(table, row, name, values[row], names, fill=fill)
    return series


def trimmed(table: Table, row: int, name: str, values: np.ndarray, columns: Sequence[str], *, fill: bool) -> np.ndarray:
    """Return the values ``(N,)`` of one row without empty cells at both ends; see ``read_rows``."""
    there = np.flatnonzero(np.isfinite(values))
    if not len(there):
        raise RequestError(f"{table.name}, {table.line(row)}: series {name!r} has no values; remove the line")
    first, last = there[0], there[-1]
    values = values[first : last + 1]
    holes = np.flatnonzero(~np.isfinite(values))
    if len(holes) and not fill:
        more = f" and {len(holes) - 1:,} more of this series" if len(holes) > 1 else ""
        raise RequestError(
            f"{table.name}, {table.line(row)}: column {columns[first + holes[0]]!r}{more} is empty or not finite "
            f"within series {name!r}; fix the file, or {FILL}"
        )
    source = np.arange(len(values))
    source[holes] = 0
    return values[np.maximum.accumulate(source)]


def column_series(table: Table, names: Sequence[str], time: str | None) -> Iterator[tuple[str, Table]]:
    """Yield each column of a table with a column for each series: its name, and the rows from first to last value.

    Raises:
        RequestError: a column has no values.
    """
    beside = [] if time is None else [time]
    for name in names:
        rows = np.flatnonzero(filled_cells(table, name))
        if not len(rows):
            raise RequestError(f"{table.name}: column {name!r} has no values; remove it")
        yield name, table.only([name, *beside]).rows(np.arange(rows[0], rows[-1] + 1), f" of series {name!r}")
