"""Forecasts of the series in a user's file, from the last window of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from torch import Tensor

from cellstate.data.files.layouts import SeriesFormat
from cellstate.data.files.series import SeriesData
from cellstate.data.files.series_end import SeriesEnd, series_ends
from cellstate.data.static import unseen
from cellstate.errors import warn

if TYPE_CHECKING:
    from cellstate.data import SequenceData
    from cellstate.model.forecasting.model import Forecaster


def predict_file(model: Forecaster, data: SequenceData, path: str) -> pl.DataFrame:
    """Return the ``horizon`` steps after the end of each series: id, time (or step), targets, and their quantiles.

    A series ends at its last row with a target. Later rows give the values of columns known in advance.
    """
    spec = model.spec
    ends = list(series_ends_of(model, data, path))
    keys = []
    for end in ends:
        key = {} if end.key is None else {end.key[0]: [end.key[1]] * spec.horizon}
        keys.append(pl.DataFrame({**key, end.when.name: end.when}))
    histories, known, static = inputs_of(model, ends)
    points = model.predict(histories, known, static)
    columns = {target: points[..., number].ravel() for number, target in enumerate(spec.targets)}
    if model.kind.levels:
        quantiles = model.predict_quantiles(histories, None, known, static)
        for number, target in enumerate(spec.targets):
            for place, level in enumerate(model.kind.levels):
                columns[f"{target}_q{level:g}"] = quantiles[..., number, place].ravel()
    return pl.concat([pl.concat(keys), pl.DataFrame(columns)], how="horizontal")


def newest_windows(model: Forecaster, data: SequenceData, path: str, most: int) -> tuple[Tensor, list[str]]:
    """Return the last windows of the first series in a file, ``(S, window, F)`` scaled, and the ids of the series."""
    ends = list(series_ends_of(model, data, path))[:most]
    return model.windows(*inputs_of(model, ends)), ["" if end.key is None else str(end.key[1]) for end in ends]


def inputs_of(
    model: Forecaster, ends: Sequence[SeriesEnd]
) -> tuple[np.ndarray, np.ndarray | None, list[dict[str, float | str]]]:
    """Return the arguments of ``Forecaster.predict`` for the ends of series, with a warning of what is new."""
    spec = model.spec
    static = [dict(end.static) for end in ends]
    ids = ["" if end.key is None else str(end.key[1]) for end in ends]
    for line in unseen(spec, [list(one.values()) for one in static], ids):
        warn(line)
    if spec.ids:
        static = [{**one, "id": name} for one, name in zip(static, ids, strict=True)]
    known = np.stack([end.ahead for end in ends]) if spec.known else None
    return np.stack([end.window for end in ends]), known, static


def series_ends_of(model: Forecaster, data: SequenceData, path: str) -> Iterator[SeriesEnd]:
    """Yield the last window of each series in a file, read as the data that the model was trained on."""
    form = data.form if isinstance(data, SeriesData) else SeriesFormat(target=list(model.spec.targets))
    return series_ends(form, model.spec, path)
