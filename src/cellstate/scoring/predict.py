"""Predictions for a user's file: read as the training file was, predicted, and a table beside the file's own keys."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cellstate.checkpoint.trust import Trust
from cellstate.data import SequenceData, SeriesData
from cellstate.data.files import labelled
from cellstate.data.files.clock import Clock, calendar_features
from cellstate.data.files.labelled import LabelledData
from cellstate.data.files.labelled_table import Columns, feature_names, group_numbers, in_order, numeric, pick
from cellstate.data.files.reading import existing_file
from cellstate.data.files.sequences import Sequences
from cellstate.data.files.series import listed
from cellstate.data.files.state_file import Layout, read_sequences
from cellstate.data.files.states import StatesData
from cellstate.data.files.table import Table, read_table
from cellstate.errors import RequestError
from cellstate.model import Classifier, Forecaster, LanguageModel, NextState, Regressor, SequenceModel
from cellstate.scoring.session import open_checkpoint

ROWS = 256  # sequences that are predicted at once
TABLES = (".csv", ".tsv", ".parquet", ".pq")


def predict_file(checkpoint: str | Path, path: str, *, trust: Trust = ()) -> pl.DataFrame:
    """Return what a trained model predicts for the sequences in a file, in the data's own units.

    Columns are named as in training, and read as the checkpoint's config says (id, time, decimals, missing values).

    Args:
        checkpoint: a checkpoint file, or a run folder, whose best one is taken; nothing in it is run.
        path: the file.
        trust: packages of yours whose classes the checkpoint may name, such as ``["my_package"]``.

    Raises:
        RequestError: the checkpoint or the file cannot be used, or nothing can be predicted from it.
    """
    stored = open_checkpoint(checkpoint, trust=trust)
    model = stored.model()
    if isinstance(model, LanguageModel):
        raise RequestError(
            f"checkpoint={checkpoint}: holds a language model, which predicts no table; have it write with "
            "cellstate generate"
        )
    predict = next((PREDICTORS[kind] for kind in type(model).__mro__ if kind in PREDICTORS), None)
    if predict is None:
        raise RequestError(f"checkpoint={checkpoint}: a {type(model).__name__} cannot predict from a file yet")
    existing_file(path, key="input")
    return predict(model, stored.data(), path)


# ---------------------------------------------------------------------- series


def forecast(model: Any, data: SequenceData, path: str) -> pl.DataFrame:
    """Return the ``horizon`` steps after the end of each series: id, time (or step), targets, and their quantiles.

    A series ends at its last row that has a target. Rows below it give the values of columns that are known ahead.
    """
    assert isinstance(model, Forecaster)
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
    """Return the newest window of each series in a file, in the data's own units.

    Returns:
        ``(S, window, C + P + K)``, what is known ahead ``(S, horizon, K)`` or None, and the ids of the series.
    """
    names, histories, aheads, _ = zip(*series_windows(model, data, path), strict=True)
    found = ["" if name is None else str(name[1]) for name in names]
    return np.stack(histories), np.stack(aheads) if model.spec.known else None, found


def series_windows(
    model: Forecaster, data: SequenceData, path: str
) -> Iterator[tuple[tuple[str, Any] | None, np.ndarray, np.ndarray, pl.Series]]:
    """Yield of each series in a file its id column and id, if there is one, and what ``last_window`` gives."""
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
    """Return one series' newest window ``(window, C + P + K)``, what is known ahead ``(horizon, K)``, and when that is.

    Raises:
        RequestError: it is too short, has holes, or lacks rows for what is known ahead.
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
            f"{part.name}: {rows:,} rows{part.whose} are too few: the model reads windows of {spec.window:,}"
        )
    if known and len(values) < rows + spec.horizon:
        raise RequestError(
            f"{part.name}: {', '.join(known)} must be known for the {spec.horizon} steps to forecast, and "
            f"{len(values) - rows} row{'s' if len(values) - rows != 1 else ''}{part.whose} after the last target "
            "give it; add rows with empty targets"
        )
    if source.calendar and clock is not None:
        waves = calendar_features(grid(clock, rows + spec.horizon))[1]
        lacking = max(0, len(waves) - len(values))
        values = np.vstack([values, np.full((lacking, values.shape[1]), np.nan)])[: len(waves)]
        values = np.hstack([values, waves])
    window, ahead = values[rows - spec.window : rows], values[rows : rows + spec.horizon, seen.shape[1] :]
    return window, ahead, when


def filled_rows(part: Table, targets: tuple[str, ...]) -> int:
    """Return how many rows there are up to the last one in which a target stands."""
    cells = [part.column(name, key="data.target").cast(pl.String).str.strip_chars().fill_null("") for name in targets]
    rows = np.flatnonzero(np.any([(column != "").to_numpy() for column in cells], axis=0))
    if not len(rows):
        raise RequestError(f"{part.name}: no row{part.whose} holds a value of {', '.join(targets)}")
    return int(rows[-1]) + 1


def grid(clock: Clock, rows: int) -> np.ndarray:
    """Return the times of so many steps from the first on, as ``Clock.grid`` has them."""
    steps = clock.ticks[0] + clock.tick * np.arange(rows)
    return (steps - (1970 * 12 + 1)).astype("datetime64[M]") if clock.calendar else steps.astype("datetime64[us]")


def later(clock: Clock, rows: int, horizon: int) -> pl.Series:
    """Return the times of ``horizon`` steps after the first ``rows``, as dates where no time has an hour."""
    times = clock.times.dt.cast_time_unit("us")
    if clock.calendar:
        moments = [times.head(1).dt.offset_by(f"{clock.tick * step}mo") for step in range(rows, rows + horizon)]
        found = pl.concat(moments)
        found = found.dt.month_end() if bool((times.dt.month_end() == times).all()) else found
    else:
        found = pl.Series(grid(clock, rows + horizon)[rows:]).cast(pl.Datetime("us"))
    dates = bool((times.dt.truncate("1d") == times).all()) and bool((found.dt.truncate("1d") == found).all())
    return (found.cast(pl.Date) if dates else found).alias(clock.name)


# ---------------------------------------------------------------------- whole sequences


def classify(model: Any, data: SequenceData, path: str) -> pl.DataFrame:
    """Return the class of each sequence and the probability of every class, beside its id or number."""
    assert isinstance(model, Classifier)
    key, sequences = read_unlabelled(model, data, path)
    found = [model.predict(rows, lengths) for rows, lengths in batches(sequences)]
    probabilities = np.concatenate([part["probabilities"] for part in found])
    columns = {f"probability_{name}": probabilities[:, number] for number, name in enumerate(model.spec.classes)}
    labels = np.concatenate([part["labels"] for part in found]).tolist()
    return pl.DataFrame({key.name: key, "label": labels, **columns})


def regress(model: Any, data: SequenceData, path: str) -> pl.DataFrame:
    """Return the values that each sequence has, beside its id or number."""
    assert isinstance(model, Regressor)
    key, sequences = read_unlabelled(model, data, path)
    values = np.concatenate([model.predict(rows, lengths) for rows, lengths in batches(sequences)])
    return pl.DataFrame({key.name: key, **{name: values[:, at] for at, name in enumerate(model.spec.targets)}})


def read_unlabelled(model: SequenceModel, data: SequenceData, path: str) -> tuple[pl.Series, Sequences]:
    """Return the sequences of a file, and what tells them apart: the ids of a table, else their numbers from 1.

    A table needs no label. The archives' ``.ts`` and ``.tsv`` have one on each line, which is not looked at.

    Raises:
        RequestError: the file cannot be read, or has other features than the model was trained on.
    """
    columns = data.columns if isinstance(data, LabelledData) else Columns()
    suffix = Path(path).suffix.lower()
    if suffix in TABLES and not (suffix == ".tsv" and columns == Columns()):
        key, sequences = read_long(model, columns, path)
    else:
        sequences = labelled.read(path, "input", Columns())
        key = pl.Series("sequence", np.arange(1, len(sequences) + 1))
    if sequences.values.shape[1] != model.spec.input_size:
        raise RequestError(
            f"{path}: its sequences have {sequences.values.shape[1]} features "
            f"({', '.join(sequences.names) or 'dimensions'}), and the model reads {model.spec.input_size}"
        )
    return key, sequences.complete(fill=isinstance(data, LabelledData) and data.missing == "fill")


def read_long(model: SequenceModel, columns: Columns, path: str) -> tuple[pl.Series, Sequences]:
    """Return the ids and the sequences of a table with a row a step; no column of labels is looked at."""
    table = read_table(path, key="input")
    id_column = pick(table, columns.id, "id")
    has_time = columns.time is not None or "time" in table.columns
    time = pick(table, columns.time, "time") if has_time else None
    label = columns.label or "label"
    given = model.spec.feature_names or columns.features
    names = feature_names(table, given, {id_column, time, label})
    values = np.stack([numeric(table, name) for name in names], axis=1)
    groups = group_numbers(table, id_column)
    order = in_order(table, groups, time, columns.time_format)
    first = np.unique(groups, return_index=True)[1]
    lengths = np.bincount(groups)
    sequences = Sequences(
        values[order], lengths, ("",) * len(lengths), lambda step: table.line(int(order[step])), path, names=names
    )
    return table.frame[id_column].gather(first), sequences


def batches(sequences: Sequences) -> Iterator[tuple[np.ndarray, list[int]]]:
    """Yield the sequences in order, ``(B, T, F)`` padded with their last value, and their lengths ``(B,)``."""
    starts = sequences.ends - sequences.lengths
    for begin in range(0, len(sequences), ROWS):
        lengths = sequences.lengths[begin : begin + ROWS]
        steps = np.minimum(np.arange(lengths.max()), lengths[:, None] - 1)
        yield sequences.values[starts[begin : begin + ROWS, None] + steps], lengths.tolist()


# ---------------------------------------------------------------------- states


def continue_states(model: Any, data: SequenceData, path: str) -> pl.DataFrame:
    """Return the likeliest next state of each sequence and the probability of every state, by line or number."""
    assert isinstance(model, NextState)
    layout = data.layout if isinstance(data, StatesData) else Layout()
    found = read_sequences(path, layout)
    steps = found.columns[0] if len(found.columns) == 1 else list(zip(*found.columns, strict=True))
    stops = np.cumsum(found.lengths)
    sequences = [steps[stop - length : stop] for stop, length in zip(stops, found.lengths, strict=True)]
    key = pl.Series("sequence", np.arange(1, len(sequences) + 1))
    if found.described == "a sequence a line":
        lines = Path(path).expanduser().read_text(encoding="utf-8-sig").split("\n")
        key = pl.Series("line", [number for number, line in enumerate(lines, start=1) if line.split()])
    for number, sequence in enumerate(sequences):
        try:
            model.encode(sequence, number)
        except RequestError as error:
            place = f"{path}, line {key[number]}" if key.name == "line" else path
            raise RequestError(f"{place}: {error.problems[0]}") from error
    parts = [model.predict(sequences[begin : begin + ROWS]) for begin in range(0, len(sequences), ROWS)]
    probabilities = np.concatenate([part["probabilities"] for part in parts])
    states = np.concatenate([part["states"] for part in parts]).tolist()
    columns = {f"probability_{state}": probabilities[:, at] for at, state in enumerate(parts[0]["vocabulary"])}
    return pl.DataFrame({key.name: key, "next_state": states, **columns})


PREDICTORS: dict[type[SequenceModel], Callable[[Any, SequenceData, str], pl.DataFrame]] = {
    Forecaster: forecast,
    Classifier: classify,
    Regressor: regress,
    NextState: continue_states,
}
