"""The references AutoTheta and AutoETS of statsforecast, an optional package that is imported when asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from cellstate.data.cutting import Windows
from cellstate.errors import RequestError

MODELS = {"auto_theta": "AutoTheta", "auto_ets": "AutoETS"}  # reference -> class


def require_statsforecast() -> None:
    """Check that the package is installed.

    Raises:
        RequestError: it is not.
    """
    if find_spec("statsforecast") is None:
        raise RequestError(
            "data.classical=true: needs a package that is not installed; pip install 'cellstate[classical]', or pip "
            "install statsforecast"
        )


def classical_forecast(reference: str, windows: Windows, split: str) -> np.ndarray:
    """Return the forecasts of a model of ``MODELS`` for the windows of a split, ``(M, horizon, C)``.

    Each series and column is fitted once, by its rows before the split; later origins of the split are forecast with
    these parameters from all rows before them. Progress is shown on a terminal.

    Sources: Fiorucci et al., Models for optimising the theta method, International Journal of Forecasting, 2016;
    Hyndman et al., A state space framework for automatic forecasting using exponential smoothing methods, 2002.
    """
    series, horizon = windows.series, windows.horizon
    forecasts = np.empty((len(windows.rows(split)), horizon, len(series.names)))
    owners, rows = windows.owners(split), windows.rows(split)
    history = windows.before(split)
    console = Console(stderr=True)
    count = len(history)
    words = f"{MODELS[reference]}, {count:,} series" if series.several else MODELS[reference]
    for number in track(range(count), words, console=console, transient=True, disable=not console.is_terminal):
        own = np.flatnonzero(owners == number)
        whole = series.values[series.firsts[number] : series.firsts[number] + series.sizes[number]]
        for column in range(whole.shape[1]):
            model = new_model(reference, windows.season)
            origins = [whole[:row, column] for row in rows[own]]
            whose = f"series {series.ids[number]!r}" if series.ids else series.names[column]
            forecasts[own, :, column] = rolled(model, history[number][:, column], origins, horizon, whose)
    return forecasts


def new_model(reference: str, season: int) -> Any:
    """Return an untrained model of statsforecast."""
    models = import_module("statsforecast.models")  # takes seconds
    return getattr(models, MODELS[reference])(season_length=season)


def rolled(model: Any, history: np.ndarray, origins: Sequence[np.ndarray], horizon: int, whose: str) -> np.ndarray:
    """Fit a model to ``history (N,)`` and forecast from each of ``origins (T_i,)``, ``(len(origins), horizon)``.

    A series that the package cannot fit, such as a very short one, is forecast by its last value; a line on stderr
    says so.
    """
    try:
        model.fit(history)
        found = np.stack([model.forward(values, horizon)["mean"] for values in origins])
    except Exception as error:  # of many kinds, from an optimiser of another library
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        name = type(model).__name__
        print(f"cellstate: {name} cannot forecast {whose} ({reason}): its last value is used instead", file=sys.stderr)
        found = None
    if found is None or not np.isfinite(found).all():
        return np.repeat([[values[-1]] for values in origins], horizon, axis=1)
    return found
