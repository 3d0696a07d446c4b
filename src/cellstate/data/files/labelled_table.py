"""Labelled sequences in long format: a table with a row a step, and a column that tells the sequences apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cellstate.data.files.labelled_text import MISSING
from cellstate.data.files.sequences import Sequences
from cellstate.data.files.table import Table, read_table
from cellstate.errors import RequestError


@dataclass(frozen=True)
class Columns:
    """Which column is what; None takes the column of that very name, for ``features`` every other numeric one."""

    id: str | None = None
    label: str | None = None
    time: str | None = None  # without one, the steps of a sequence are in the order of their rows
    time_format: str | None = None  # of times as text, where they do not tell it themselves
    features: str | Sequence[str] | None = None

    @property
    def given(self) -> dict[str, str | Sequence[str]]:
        """Key -> value of those that the user gave."""
        return {f"data.{key}": value for key, value in vars(self).items() if value is not None}


def read_long(path: str, key: str, columns: Columns) -> Sequences:
    """Read a CSV or Parquet table with a row a step; the rows of a sequence need not stand together.

    Raises:
        RequestError: a column is not there, or names the line that has no id, no label, another label than its
            sequence, a time that stands there twice, or something else than a number.
    """
    table = read_table(path, key)
    named = {role: pick(table, getattr(columns, role), role) for role in ("id", "label")}
    has_time = columns.time is not None or "time" in table.columns
    time = pick(table, columns.time, "time") if has_time else None
    names = feature_names(table, columns.features, {*named.values(), time})
    values = np.stack([numeric(table, name) for name in names], axis=1)

    groups = group_numbers(table, named["id"])
    order = in_order(table, groups, time, columns.time_format)
    labels = sequence_labels(table, named, groups)
    return Sequences(
        values[order], np.bincount(groups), labels, lambda step: table.line(int(order[step])), path, names=names
    )


def pick(table: Table, name: str | None, role: str) -> str:
    """Return the column of a role: the one that the user named, else the one that bears the role's name."""
    if name is None and role not in table.columns:
        what = {"id": "tells the sequences apart", "label": "holds the class"}.get(role, "orders the steps")
        raise RequestError(
            f"{table.name}: which column {what}? None is called {role!r}; choose with data.{role}=COLUMN "
            f"(the columns are: {', '.join(table.columns)})"
        )
    return table.column(name or role, f"data.{role}").name


def feature_names(table: Table, given: str | Sequence[str] | None, taken: set[str | None]) -> tuple[str, ...]:
    """Return the columns that are read: those given, else every numeric one that has no other role."""
    if given is None:
        names = [name for name in table.columns if name not in taken and looks_numeric(table, name)]
        if not names:
            raise RequestError(f"{table.name}: no column of numbers besides; choose with data.features=[COLUMN,…]")
        return tuple(names)
    names = [given] if isinstance(given, str) else list(given)
    if not names or len(set(names)) < len(names):
        raise RequestError(f"data.features=[{','.join(names)}]: name one column or several different ones")
    for name in names:
        if name in taken:
            raise RequestError(f"data.features: {name!r} is the id, label or time of the sequences already")
        table.column(name, "data.features")
    return tuple(names)


def looks_numeric(table: Table, name: str) -> bool:
    """Say whether a column is of numbers, or is text of which most reads as numbers: then the rest is a slip."""
    kind = table.frame[name].dtype
    return kind.is_numeric() or kind == pl.Boolean or table.mostly_numbers(name)


def as_numbers(table: Table, name: str) -> pl.Series:
    """Return a column as float64, null where a cell is no number; true is 1 and false 0."""
    column = table.frame[name]
    if column.dtype == pl.String:
        column = column.str.strip_chars()
        column = column.str.replace(",", ".", literal=True) if name in table.decimal_commas else column
    return column.cast(pl.Float64, strict=False)


def numeric(table: Table, name: str) -> NDArray[np.float64]:
    """Return a column ``(S,)``, NaN where a cell is empty."""
    column, parsed = table.frame[name], as_numbers(table, name)
    written = column.cast(pl.String).str.strip_chars().str.to_lowercase()
    wrong = (parsed.is_null() & column.is_not_null() & ~written.is_in(list(MISSING))) | parsed.is_infinite()
    rows = wrong.fill_null(False).arg_true()
    if len(rows):
        row = int(rows[0])
        raise RequestError(
            f"{table.name}, {table.line(row)}: column {name!r} holds {str(column[row])!r}, which is no "
            f"{'finite ' if parsed[row] is not None else ''}number; mend the file, or choose other data.features"
        )
    return parsed.fill_null(float("nan")).to_numpy()


def group_numbers(table: Table, name: str) -> NDArray[np.int64]:
    """Return the number of the sequence of each row ``(S,)``, in the order in which sequences begin in the file."""
    refuse_empty(table, name, "tells no sequence")
    frame = pl.DataFrame({"id": table.frame[name], "row": np.arange(len(table))})
    first = frame.select(pl.col("row").first().over("id"))["row"].to_numpy()
    return np.unique(first, return_inverse=True)[1].astype(np.int64)


def in_order(table: Table, groups: NDArray[np.int64], time: str | None, form: str | None) -> NDArray[np.int64]:
    """Return the rows ``(S,)`` sequence by sequence, those of a sequence by time or as they stand."""
    if time is None:
        return np.argsort(groups, kind="stable")
    refuse_empty(table, time, "holds no time")
    column = times(table, time, form)
    ranks = column.rank("dense").to_numpy()
    order = np.lexsort((ranks, groups))
    twice = np.flatnonzero((np.diff(ranks[order]) == 0) & (np.diff(groups[order]) == 0))
    if len(twice):
        row = int(order[twice + 1].min())
        raise RequestError(
            f"{table.name}, {table.line(row)}: the time {table.frame[time][row]} stands twice in its sequence; "
            "one row a step, and a data.id for every sequence"
        )
    return order


def times(table: Table, name: str, form: str | None) -> pl.Series:
    """Return a column of numbers or times ``(S,)``, read from text where it is that."""
    if looks_numeric(table, name) and form is None:
        column = as_numbers(table, name)
        wrong = column.is_null().arg_true()
        if len(wrong):
            row = int(wrong[0])
            raise RequestError(
                f"{table.name}, {table.line(row)}: column {name!r} (data.time) holds {table.frame[name][row]!r}, "
                "which is no number; mend the file"
            )
        return column
    found = table.times(name, form)
    assert found is not None  # as it has a name
    return found[1]


def sequence_labels(table: Table, named: dict[str, str], groups: NDArray[np.int64]) -> tuple[str, ...]:
    """Return the label of each sequence ``(N,)``, which all of its rows bear."""
    column, ids = table.frame[named["label"]].cast(pl.String).str.strip_chars(), table.frame[named["id"]]
    gone = (column.is_null() | column.str.to_lowercase().is_in(list(MISSING))).arg_true()
    if len(gone):
        row = int(gone[0])
        raise RequestError(
            f"{table.name}, {table.line(row)}: sequence {str(ids[row])!r} has no label there; add it, or leave it out"
        )
    first = np.unique(groups, return_index=True)[1]
    other = (column != column.gather(first[groups])).arg_true()
    if len(other):
        row = int(other[0])
        raise RequestError(
            f"{table.name}, {table.line(row)}: sequence {str(ids[row])!r} has the label {column[row]!r} there, and "
            f"{column[int(first[groups[row]])]!r} before; a sequence has one"
        )
    return tuple(column.gather(first).to_list())


def refuse_empty(table: Table, name: str, what: str) -> None:
    """Refuse a column in which a cell is empty."""
    empty = table.frame[name].is_null().arg_true()
    if len(empty):
        raise RequestError(f"{table.name}, {table.line(int(empty[0]))}: column {name!r} {what} there; mend the file")
