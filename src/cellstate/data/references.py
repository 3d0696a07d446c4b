"""The forecasts without a network that stand beside those of a model, on the windows of a split."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from cellstate.data.baselines import drift, last_value, seasonal_drift, seasonal_naive
from cellstate.data.batch import DataSpec
from cellstate.data.classical import MODELS, classical_forecast
from cellstate.data.cutting import Windows
from cellstate.data.naive2 import SeasonalIndices, seasonal_indices
from cellstate.data.ridge_linear import ridge_linear

DRIFTING = 2.0  # standard errors from 0 at which series count as drifting
Forecasts = dict[str, Callable[[], np.ndarray]]


class References:
    """Simple forecasts for the windows of a split, ``(M, horizon, C)`` each, unscaled and without covariates."""

    def __init__(self, windows: Windows, spec: DataSpec, *, classical: bool = False) -> None:
        self.windows, self.spec, self.classical = windows, spec, classical
        self._indices: dict[str, SeasonalIndices] = {}

    def of(self, split: str) -> Forecasts:
        """Return name -> forecast, each computed when it is called.

        Seasonal naive is included if there is a season, with a forecast for each further one (``seasonal_naive_168``),
        and with drift if the training rows drift: if the root mean square over series and columns of the drift in
        standard errors (``seasonal_drift``) is above 2. With ``classical`` there are also those of ``data.classical``.
        """
        found: Forecasts = {"naive2": lambda: self.naive2(split), "last_value": lambda: self.last_value(split)}
        if self.spec.season > 1:
            found["seasonal_naive"] = lambda: self.seasonal_naive(split)
            for season in self.spec.seasons[1:]:
                found[f"seasonal_naive_{season}"] = partial(self.seasonal_naive, split, season=season)
            drifts, deviations = self._drifts()
            if np.sqrt(np.mean(deviations**2)) > DRIFTING:
                found["seasonal_naive_drift"] = lambda: self.seasonal_naive(split, drifts)
        found |= {"drift": lambda: self.drift(split), "ridge_linear": lambda: self.ridge_linear(split)}
        if self.classical:
            found |= {name: partial(classical_forecast, name, self.windows, split) for name in MODELS}
        return found

    def last_value(self, split: str) -> np.ndarray:
        """Repeat the last observation."""
        return last_value(self.windows.series.values, self.windows.starts(split), self.spec.horizon)

    def drift(self, split: str) -> np.ndarray:
        """Continue the line through the first and the last observation."""
        windows = self.windows
        return drift(windows.series.values, windows.starts(split), self.spec.horizon, windows.rows(split))

    def seasonal_naive(self, split: str, drifts: np.ndarray | None = None, *, season: int | None = None) -> np.ndarray:
        """Repeat the last ``season``, None: the first one, with ``drifts (S, C)`` per season if given."""
        windows, spec = self.windows, self.spec
        own = None if drifts is None else drifts[windows.owners(split)]
        values, starts, firsts = windows.series.values, windows.starts(split), windows.firsts(split)
        return seasonal_naive(values, starts, spec.horizon, season or spec.season, own, first=firsts)

    def naive2(self, split: str, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Repeat the seasonally adjusted last value, for the ``chosen`` windows.

        Each series is tested and decomposed once, by its rows before the split: for the first forecast of each series
        that is Naive2 of the M4 competition exactly.
        """
        windows = self.windows
        if split not in self._indices:
            self._indices[split] = seasonal_indices(windows.before(split), self.spec.season)
        owners, rows, starts = (part(split)[chosen] for part in (windows.owners, windows.rows, windows.starts))
        return self._indices[split].forecast(windows.series.values[starts - 1], owners, rows, self.spec.horizon)

    def ridge_linear(self, split: str) -> np.ndarray:
        """Ridge regression, on windows standardised each by itself if the levels of the series differ."""
        windows, spec, series = self.windows, self.spec, self.windows.series
        return ridge_linear(
            series.values,
            windows.starts("train"),
            windows.starts(split),
            spec.window,
            spec.horizon,
            spec.std if series.several else None,
            firsts=np.repeat(series.firsts, series.sizes) if windows.padded else None,
            standardise=spec.levels_differ,
        )

    def _drifts(self) -> tuple[np.ndarray, np.ndarray]:
        found = [seasonal_drift(training, self.spec.season) for training in self.windows.training]
        drifts, deviations = (np.stack(part) for part in zip(*found, strict=True))  # (S, C)
        return drifts, deviations
