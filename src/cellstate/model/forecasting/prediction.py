"""Forecasts of the series in a user's file, from the last window of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from cellstate.data.files.layouts import SeriesFormat
from cellstate.data.files.series import SeriesData
from cellstate.data.files.series_end import SeriesEnd, series_ends

if TYPE_CHECKING:
    from cellstate.data import SequenceData
    from cellstate.model.forecasting.model import Forecaster


def predict_file(model: Forecaster, data: SequenceData, path: str) -> pl.DataFrame:
    """Return the ``horizon`` steps after the end of each series: id, time (or step), targets, and their quantiles.

    A series ends at its last row with a target. Later rows give the values of columns known in advance.
    """
    spec = model.spec
    histories, known, keys = [], [], []
    for name, history, ahead, when in series_ends_of(model, data, path):
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
    names, histories, aheads, _ = zip(*series_ends_of(model, data, path), strict=True)
    found = ["" if name is None else str(name[1]) for name in names]
    return np.stack(histories), np.stack(aheads) if model.spec.known else None, found


def series_ends_of(model: Forecaster, data: SequenceData, path: str) -> Iterator[SeriesEnd]:
    """Yield the last window of each series in a file, read as the data that the model was trained on."""
    form = data.form if isinstance(data, SeriesData) else SeriesFormat(target=list(model.spec.targets))
    return series_ends(form, model.spec, path)
