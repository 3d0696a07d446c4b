"""The last window of each series in a user's file, from which a trained model forecasts what follows."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from cellstate.data.batch import DataSpec
from cellstate.data.cutting import least_rows
from cellstate.data.files.clock import Clock
from cellstate.data.files.layouts import SeriesFormat, filled_cells, listed
from cellstate.data.files.series_file import SeriesFile, static_values, waves_of
from cellstate.data.files.table import Table
from cellstate.data.files.wide import read_rows
from cellstate.errors import RequestError, shortened


class SeriesEnd(NamedTuple):
    """The end of one series, unscaled.

    key: id column and id, if there are several series.
    window: ``(window, C + P + K)``; NaN before the series begins, for models that take padded windows.
    ahead: ``(horizon, K)``, the columns known in advance in the steps to forecast.
    when: ``(horizon,)`` the times of these steps, or their numbers.
    static: name -> value of what is constant within the series.
    """

    key: tuple[str, Any] | None
    window: np.ndarray
    ahead: np.ndarray
    when: pl.Series
    static: Mapping[str, float | str] = MappingProxyType({})


def series_ends(form: SeriesFormat, spec: DataSpec, path: str) -> Iterator[SeriesEnd]:
    """Yield the last window of each series in a file.

    A series ends at its last row with a target. Later rows give the values of columns known in advance.

    Raises:
        RequestError: the file cannot be read, a series is too short, has missing values, or lacks rows for the columns
            known in advance.
    """
    file = SeriesFile(path, "input", form, targets=spec.targets)
    if file.layout == "long":
        check_layout(file.table, form, spec.targets)
    if file.layout == "rows":
        for name, values in read_rows(file.table, form.id, fill=form.fill).items():
            window = last_rows(values[:, None], len(values), spec, path, f" of series {name!r}")
            yield SeriesEnd(("id", name), window, np.empty((spec.horizon, 0)), steps_ahead(spec))
        return
    for name, part in file.tables():
        targets = list(spec.targets) if file.layout == "long" else [name]
        key = None if file.id_name is None else (file.id_name, name)
        static = dict(zip(spec.static, static_values(part, spec.static), strict=True))
        yield SeriesEnd(key, *last_window(file, part, targets, spec), static)


def check_layout(table: Table, form: SeriesFormat, targets: Sequence[str]) -> None:
    """Reject a table with none of the columns of targets and ids of the training file, whose layout it lacks."""
    roles = {"data.id": listed(form.id), "data.target": list(targets)}
    names = {name for part in roles.values() for name in part}
    if names & set(table.columns):
        return  # a column that is missing is named where it is read
    keys = " and ".join(
        f"{key}={'[' + ','.join(part) + ']' if len(part) > 1 else part[0]}" for key, part in roles.items() if part
    )
    raise RequestError(
        f"{table.name}: has another layout than the training file, which has a row per time step with {keys}; "
        f"give such a file (columns here: {shortened(table.columns)})"
    )


def last_window(
    file: SeriesFile, part: Table, targets: Sequence[str], spec: DataSpec
) -> tuple[np.ndarray, np.ndarray, pl.Series]:
    """Return window, known future and times of the last window of one series, as in ``SeriesEnd``."""
    form, fill = file.form, file.form.fill
    rows = filled_rows(part, targets)
    history = copy.copy(part)
    history.frame = part.frame.head(rows)
    past, known = listed(form.past), listed(form.known)
    seen = np.hstack([history.numbers(targets, fill=fill), history.numbers(past, fill=fill, key="data.past")])
    ahead = part.numbers(known, fill=fill, key="data.known")
    values = np.full((len(part), seen.shape[1] + len(known)), np.nan)
    values[:rows, : seen.shape[1]], values[:, seen.shape[1] :] = seen, ahead
    when, clock = steps_ahead(spec), file.clock(part)
    if clock is not None:
        values, rows = clock.regular(values, fill=fill), int((clock.ticks[rows - 1] - clock.ticks[0]) // clock.tick) + 1
        when = later(clock, rows, spec.horizon)
    if known and len(values) < rows + spec.horizon:
        raise RequestError(
            f"{part.name}: {', '.join(known)} must be known for the {spec.horizon} steps to forecast, but only "
            f"{len(values) - rows} row{'s' if len(values) - rows != 1 else ''}{part.whose} after the last target "
            "give values; add rows with empty targets"
        )
    if form.calendar and clock is not None:
        waves = waves_of(clock, rows + spec.horizon)
        lacking = max(0, len(waves) - len(values))
        values = np.vstack([values, np.full((lacking, values.shape[1]), np.nan)])[: len(waves)]
        values = np.hstack([values, waves])
    window = last_rows(values, rows, spec, part.name, part.whose)
    return window, values[rows : rows + spec.horizon, seen.shape[1] :], when


def last_rows(values: np.ndarray, rows: int, spec: DataSpec, path: str, whose: str) -> np.ndarray:
    """Return the last ``spec.window`` of the first ``rows``, padded with NaN in front if the model was trained so."""
    least = least_rows(spec.window, spec.season) if spec.padded else spec.window
    if rows < least:
        needs = f"windows of {spec.window:,}" if least == spec.window else f"at least {least:,}"
        raise RequestError(f"{path}: {rows:,} rows{whose} are too few: the model needs {needs}")
    window = values[max(rows - spec.window, 0) : rows]
    return np.vstack([np.full((spec.window - len(window), values.shape[1]), np.nan), window])


def steps_ahead(spec: DataSpec) -> pl.Series:
    """Return the numbers of the steps to forecast, from 1."""
    return pl.Series("step", np.arange(1, spec.horizon + 1))


def filled_rows(part: Table, targets: Sequence[str]) -> int:
    """Return the number of rows up to the last one with a target."""
    for name in targets:
        part.column(name, key="data.target")
    rows = np.flatnonzero(np.any([filled_cells(part, name) for name in targets], axis=0))
    if not len(rows):
        raise RequestError(f"{part.name}: no row{part.whose} has a value of {', '.join(targets)}")
    return int(rows[-1]) + 1


def later(clock: Clock, rows: int, horizon: int) -> pl.Series:
    """Return the times of ``horizon`` steps after the first ``rows``, as dates if all are at midnight."""
    times = clock.times.dt.cast_time_unit("us")
    if clock.calendar:
        moments = [times.head(1).dt.offset_by(f"{clock.tick * step}mo") for step in range(rows, rows + horizon)]
        found = pl.concat(moments)
        found = found.dt.month_end() if bool((times.dt.month_end() == times).all()) else found
    else:
        found = pl.Series(clock.grid(rows + horizon)[rows:]).cast(pl.Datetime("us"))
    dates = bool((times.dt.truncate("1d") == times).all()) and bool((found.dt.truncate("1d") == found).all())
    return (found.cast(pl.Date) if dates else found).alias(clock.name)
