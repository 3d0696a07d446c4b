"""Forecasts of the series in a user's file, from the last window of each."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from cellstate.data.files.clock import Clock, calendar_features
from cellstate.data.files.series import SeriesData, listed
from cellstate.data.files.table import Table, read_table
from cellstate.errors import RequestError

if TYPE_CHECKING:
    from cellstate.data import SequenceData
    from cellstate.model.forecasting.model import Forecaster


def predict_file(model: Forecaster, data: SequenceData, path: str) -> pl.DataFrame:
    """Return the ``horizon`` steps after the end of each series: id, time (or step), targets, and their quantiles.

    A series ends at its last row with a target. Later rows give the values of columns known in advance.
    """
    spec = model.spec
    histories, known, keys = [], [], []
    for name, history, ahead, when in series_windows(model, data, path):
        histories.append(history)
        known.append(ahead)
        key = {} if name is None else {name[0]: [name[1]] * spec.horizon}
        keys.append(pl.DataFrame({**key, when.name: when}))
    known = np.stack(known) if spec.known else None
    points = model.predict(np.stack(histories), known)
    columns = {target: points[..., number].ravel() for number, target in enumerate(spec.targets)}
    if model.kind.levels:
        quantiles = model.predict_quantiles(np.stack(histories), None, known)
        for number, target in enumerate(spec.targets):
            for place, level in enumerate(model.kind.levels):
                columns[f"{target}_q{level:g}"] = quantiles[..., number, place].ravel()
    return pl.concat([pl.concat(keys), pl.DataFrame(columns)], how="horizontal")


def newest_windows(model: Forecaster, data: SequenceData, path: str) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """Return the last window of each series in a file, unscaled.

    Returns:
        ``(S, window, C + P + K)``, columns known in advance ``(S, horizon, K)`` or None, and the ids of the series.
    """
    names, histories, aheads, _ = zip(*series_windows(model, data, path), strict=True)
    found = ["" if name is None else str(name[1]) for name in names]
    return np.stack(histories), np.stack(aheads) if model.spec.known else None, found


def series_windows(
    model: Forecaster, data: SequenceData, path: str
) -> Iterator[tuple[tuple[str, Any] | None, np.ndarray, np.ndarray, pl.Series]]:
    """Yield for each series in a file its id column and id, if there is one, and the results of ``last_window``."""
    spec = model.spec
    source = data if isinstance(data, SeriesData) else SeriesData(target=list(spec.targets))
    table = read_table(path, key="input", decimal=source.decimal)
    _ = table.decimal_commas
    names = [*spec.targets, *listed(source.past), *listed(source.known)]
    found = table.times(source.time, source.time_format, exclude=[*names, *listed(source.id)])
    for name, part in table.series(source.id).items():
        times = None if found is None else (found[0], part.of_file(found[1]))
        yield None if source.id is None else (source.id, name), *last_window(model, source, part, times)


def last_window(
    model: Forecaster, source: SeriesData, part: Table, times: tuple[str, Any] | None
) -> tuple[np.ndarray, np.ndarray, pl.Series]:
    """Return the last window ``(window, C + P + K)`` of a series, its known future ``(horizon, K)``, and the times.

    Raises:
        RequestError: it is too short, has missing values, or lacks rows for the columns known in advance.
    """
    spec, fill = model.spec, source.missing == "fill"
    rows = filled_rows(part, spec.targets)
    history = copy.copy(part)
    history.frame = part.frame.head(rows)
    past, known = listed(source.past), listed(source.known)
    seen = np.hstack([history.numbers(spec.targets, fill=fill), history.numbers(past, fill=fill, key="data.past")])
    ahead = part.numbers(known, fill=fill, key="data.known")
    values = np.full((len(part), seen.shape[1] + len(known)), np.nan)
    values[:rows, : seen.shape[1]], values[:, seen.shape[1] :] = seen, ahead
    when, clock = pl.Series("step", np.arange(1, spec.horizon + 1)), None
    if times is not None:
        name, column = times
        clock = Clock(part, name, column)
        values, rows = clock.regular(values, fill=fill), int((clock.ticks[rows - 1] - clock.ticks[0]) // clock.tick) + 1
        when = later(clock, rows, spec.horizon)
    if rows < spec.window:
        raise RequestError(
            f"{part.name}: {rows:,} rows{part.whose} are too few: the model needs windows of {spec.window:,}"
        )
    if known and len(values) < rows + spec.horizon:
        raise RequestError(
            f"{part.name}: {', '.join(known)} must be known for the {spec.horizon} steps to forecast, but only "
            f"{len(values) - rows} row{'s' if len(values) - rows != 1 else ''}{part.whose} after the last target "
            "give values; add rows with empty targets"
        )
    if source.calendar and clock is not None:
        waves = calendar_features(clock.grid(rows + spec.horizon))[1]
        lacking = max(0, len(waves) - len(values))
        values = np.vstack([values, np.full((lacking, values.shape[1]), np.nan)])[: len(waves)]
        values = np.hstack([values, waves])
    window, ahead = values[rows - spec.window : rows], values[rows : rows + spec.horizon, seen.shape[1] :]
    return window, ahead, when


def filled_rows(part: Table, targets: tuple[str, ...]) -> int:
    """Return the number of rows up to the last one with a target."""
    cells = [part.column(name, key="data.target").cast(pl.String).str.strip_chars().fill_null("") for name in targets]
    rows = np.flatnonzero(np.any([(column != "").to_numpy() for column in cells], axis=0))
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
