"""Labelled sequences in long format: a table with one row per step, and a column that identifies the sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cellstate.data.files.labelled_text import MISSING
from cellstate.data.files.sequences import Sequences
from cellstate.data.files.table import Table, read_table
from cellstate.errors import RequestError, shortened


@dataclass(frozen=True)
class Columns:
    """The column of each role; None uses the column of that name, for ``features`` all other numeric columns."""

    id: str | None = None
    label: str | None = None
    time: str | None = None  # without it, steps are in the order of the rows
    time_format: str | None = None  # of times as text, if it cannot be inferred
    features: str | Sequence[str] | None = None

    @property
    def given(self) -> dict[str, str | Sequence[str]]:
        """Key -> value of the options that the user set."""
        return {f"data.{key}": value for key, value in vars(self).items() if value is not None}


def read_long(path: str, key: str, columns: Columns, *, labelled: bool = True) -> tuple[pl.Series, Sequences]:
    """Read a CSV or Parquet table with one row per step; the rows of a sequence need not be adjacent.

    Returns:
        the id of each sequence ``(N,)``, and the sequences; labels are empty unless ``labelled``.

    Raises:
        RequestError: a column does not exist, or a line (which is named) has no id, no label, a different label than
            its sequence, a duplicate time, or a value that is not a number.
    """
    table = read_table(path, key)
    id_column = pick(table, columns.id, "id")
    label = pick(table, columns.label, "label") if labelled else columns.label or "label"
    has_time = columns.time is not None or "time" in table.columns
    time = pick(table, columns.time, "time") if has_time else None
    groups = group_numbers(table, id_column)
    taken = {id_column, label, time}
    steps = step_columns(table, groups, taken) if columns.features is None and time is None else ()
    names = feature_names(table, columns.features, {*taken, *steps})
    values = np.stack([numeric(table, name) for name in names], axis=1)

    order = in_order(table, groups, time, columns.time_format)
    first = np.unique(groups, return_index=True)[1]
    labels = sequence_labels(table, id_column, label, first[groups]) if labelled else [""] * len(table)
    return table.frame[id_column].gather(first), Sequences(
        values[order],
        np.bincount(groups),
        tuple(labels[row] for row in first),
        lambda step: table.line(int(order[step])),
        path,
        names=names,
        steps=steps,
    )


def pick(table: Table, name: str | None, role: str) -> str:
    """Return the column of a role: the one that the user chose, else the one with the role's name."""
    if name is None and role not in table.columns:
        what = {"id": "identifies the sequence", "label": "contains the class"}.get(role, "orders the steps")
        raise RequestError(
            f"{table.name}: which column {what}? There is no column {role!r}; set data.{role}=COLUMN "
            f"(columns: {shortened(table.columns)})"
        )
    return table.column(name or role, f"data.{role}").name


def feature_names(table: Table, given: str | Sequence[str] | None, taken: set[str | None]) -> tuple[str, ...]:
    """Return the columns to read: the given ones, else every numeric column without another role."""
    if given is None:
        names = [name for name in table.columns if name not in taken and looks_numeric(table, name)]
        if not names:
            raise RequestError(f"{table.name}: no other numeric column; set data.features=[COLUMN,…]")
        return tuple(names)
    names = [given] if isinstance(given, str) else list(given)
    if not names or len(set(names)) < len(names):
        raise RequestError(f"data.features=[{','.join(names)}]: give one or more different columns")
    for name in names:
        if name in taken:
            raise RequestError(f"data.features: {name!r} is already the id, label or time column")
        table.column(name, "data.features")
    return tuple(names)


def step_columns(table: Table, groups: NDArray[np.int64], taken: set[str | None]) -> tuple[str, ...]:
    """Return the columns that count the steps, up by one in every sequence; none if no other column is numeric.

    Args:
        table: in the order of the file.
        groups: ``(S,)`` the sequence of each row.
        taken: columns that are something else.
    """
    order = np.argsort(groups, kind="stable")
    within = np.diff(groups[order]) == 0
    if not within.any():
        return ()
    whole = [name for name in table.columns if name not in taken and table.frame[name].dtype.is_integer()]
    cells = {name: table.frame[name].cast(pl.Int64).to_numpy() for name in whole if not table.frame[name].has_nulls()}
    steps = tuple(name for name, found in cells.items() if (np.diff(found[order])[within] == 1).all())
    return steps if any(looks_numeric(table, name) for name in table.columns if name not in {*taken, *steps}) else ()


def looks_numeric(table: Table, name: str) -> bool:
    """Return whether a column is numeric, or is text that mostly parses as numbers (the rest are then typos)."""
    kind = table.frame[name].dtype
    return kind.is_numeric() or kind == pl.Boolean or table.mostly_numbers(name)


def numeric(table: Table, name: str) -> NDArray[np.float64]:
    """Return a column ``(S,)``, NaN for empty cells."""
    column, parsed = table.frame[name], table.as_numbers(name)
    written = column.cast(pl.String).str.strip_chars().str.to_lowercase()
    wrong = (parsed.is_null() & column.is_not_null() & ~written.is_in(list(MISSING))) | parsed.is_infinite()
    rows = wrong.fill_null(False).arg_true()
    if len(rows):
        row = int(rows[0])
        raise RequestError(
            f"{table.name}, {table.line(row)}: column {name!r} contains {str(column[row])!r}, which is not a "
            f"{'finite ' if parsed[row] is not None else ''}number; fix the file, or choose other data.features"
        )
    return parsed.fill_null(float("nan")).to_numpy()


def group_numbers(table: Table, name: str) -> NDArray[np.int64]:
    """Return the index of each row's sequence ``(S,)``; sequences are numbered in order of first appearance."""
    ids = table.complete_column(name, "data.id", "id")
    frame = pl.DataFrame({"id": ids, "row": np.arange(len(table))})
    first = frame.select(pl.col("row").first().over("id"))["row"].to_numpy()
    return np.unique(first, return_inverse=True)[1].astype(np.int64)


def in_order(table: Table, groups: NDArray[np.int64], time: str | None, form: str | None) -> NDArray[np.int64]:
    """Return the rows ``(S,)`` sequence by sequence, within a sequence by time or else in file order."""
    if time is None:
        return np.argsort(groups, kind="stable")
    table.complete_column(time, "data.time", "time")
    column = times(table, time, form)
    ranks = column.rank("dense").to_numpy()
    order = np.lexsort((ranks, groups))
    twice = np.flatnonzero((np.diff(ranks[order]) == 0) & (np.diff(groups[order]) == 0))
    if len(twice):
        row = int(order[twice + 1].min())
        raise RequestError(
            f"{table.name}, {table.line(row)}: the time {table.frame[time][row]} occurs twice in its sequence; "
            "give one row per step and a separate id for every sequence"
        )
    return order


def times(table: Table, name: str, form: str | None) -> pl.Series:
    """Return a column of numbers or times ``(S,)``, parsed if it is text."""
    if looks_numeric(table, name) and form is None:
        column = table.as_numbers(name)
        wrong = column.is_null().arg_true()
        if len(wrong):
            row = int(wrong[0])
            raise RequestError(
                f"{table.name}, {table.line(row)}: column {name!r} (data.time) contains {table.frame[name][row]!r}, "
                "which is not a number; fix the file"
            )
        return column
    found = table.times(name, form)
    assert found is not None  # as it has a name
    return found[1]


def sequence_labels(table: Table, id_column: str, label: str, first: NDArray[np.int64]) -> list[str]:
    """Return the label of each row ``(S,)``, that of the ``first`` row of its sequence."""
    column, ids = table.frame[label].cast(pl.String).str.strip_chars(), table.frame[id_column]
    gone = (column.is_null() | column.str.to_lowercase().is_in(list(MISSING))).arg_true()
    if len(gone):
        row = int(gone[0])
        raise RequestError(
            f"{table.name}, {table.line(row)}: sequence {str(ids[row])!r} has no label; add it, or remove the sequence"
        )
    other = (column != column.gather(first)).arg_true()
    if len(other):
        row = int(other[0])
        raise RequestError(
            f"{table.name}, {table.line(row)}: sequence {str(ids[row])!r} has the label {column[row]!r} here but "
            f"{column[int(first[row])]!r} before; give each sequence one label"
        )
    return column.to_list()
