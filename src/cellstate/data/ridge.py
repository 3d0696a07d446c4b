"""Ridge regression of the horizon on the window, the linear reference of a forecaster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

STRENGTHS = tuple(10.0**power for power in range(-3, 6))
MOST_WINDOWS = 50_000  # for fitting and for validation, evenly spaced
OUTLIER = 10.0  # deviations of a standardised window beyond which targets are clipped in the fit
FLAT = 1e-6  # deviation relative to the largest value of a window at which it counts as constant


@dataclass(frozen=True)
class Column:
    """One column of all series ``(N,)``, and how its windows are normalised.

    Attributes:
        values: scaled.
        window: input steps.
        horizon: steps to forecast.
        firsts: ``(N,)`` the first row of the series of each row: windows repeat that row instead of reaching before it.
        standardise: subtract the mean of a window and divide by its deviation, instead of subtracting its last value.
    """

    values: np.ndarray
    window: int
    horizon: int
    firsts: np.ndarray | None
    standardise: bool

    def inputs(self, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return normalised windows ``(M, window)``, and their centre and spread ``(M, 1)``."""
        if self.firsts is None:
            windows = np.lib.stride_tricks.sliding_window_view(self.values, self.window)[starts - self.window]
        else:
            rows = starts[:, None] + np.arange(-self.window, 0)
            windows = self.values[np.maximum(rows, self.firsts[starts - 1][:, None])]
        if not self.standardise:
            last = windows[:, -1:]
            return windows - last, last, np.ones_like(last)
        centre, spread = windows.mean(axis=1, keepdims=True), windows.std(axis=1, keepdims=True)
        flat = spread <= FLAT * np.abs(windows).max(axis=1, keepdims=True)
        spread = np.where(flat, 1, spread)
        return np.where(flat, 0, (windows - centre) / spread), centre, spread

    def pairs(self, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return normalised windows ``(M, window)`` and targets ``(M, horizon)``, at most 50,000 of them."""
        starts = starts[:: -(-len(starts) // MOST_WINDOWS)]
        inputs, centre, spread = self.inputs(starts)
        targets = (np.lib.stride_tricks.sliding_window_view(self.values, self.horizon)[starts] - centre) / spread
        return inputs, np.clip(targets, -OUTLIER, OUTLIER) if self.standardise else targets


def ridge_linear(
    values: np.ndarray,
    starts: Mapping[str, np.ndarray],
    reported: np.ndarray,
    window: int,
    horizon: int,
    scale: Sequence[float] | None = None,
    *,
    firsts: np.ndarray | None = None,
    standardise: bool = False,
) -> np.ndarray:
    """Fit one linear map per column from the window to the horizon, both relative to the window's last value.

    Its only input is the column that it forecasts.

    With X the windows and Y the targets of the training split, each minus the last observed value, the map is
    ``(X'X + s I)^-1 X'Y`` (Hoerl & Kennard 1970) on columns of unit variance; the strength s is the one of
    STRENGTHS with the smallest squared error on the validation split. ``scale`` is the deviation of each column
    if there are several series; by default it is that of the training rows.

    With ``standardise``, for series of different levels, each window has mean 0 and variance 1 instead, and targets
    further than 10 deviations from it are clipped in the fit. ``firsts (N,)`` is the first row of the series of each
    row, if windows may be longer than the rows before: they then begin with copies of that row.
    """
    if scale is None:
        scale = [column[: starts["train"][-1]].std() for column in values.T]
    columns = []
    for column, deviation in zip(values.T, scale, strict=True):
        unit = deviation or 1.0
        columns.append(_forecast(Column(column / unit, window, horizon, firsts, standardise), starts, reported) * unit)
    return np.stack(columns, axis=-1)


def _forecast(column: Column, starts: Mapping[str, np.ndarray], reported: np.ndarray) -> np.ndarray:
    best = _fitted(column, starts)
    forecasts = []
    for at in range(0, len(reported), MOST_WINDOWS):
        inputs, centre, spread = column.inputs(reported[at : at + MOST_WINDOWS])
        forecasts.append(inputs @ best * spread + centre)
    return np.concatenate(forecasts)


def _fitted(column: Column, starts: Mapping[str, np.ndarray]) -> np.ndarray:
    inputs, targets = column.pairs(starts["train"])
    power, product = inputs.T @ inputs, inputs.T @ targets
    val_inputs, val_targets = column.pairs(starts["val"])
    best, best_error = np.zeros((column.window, column.horizon)), np.inf
    for strength in STRENGTHS:
        weights = np.linalg.solve(power + strength * np.eye(column.window), product)
        error = float(np.mean((val_inputs @ weights - val_targets) ** 2))
        if error < best_error:
            best, best_error = weights, error
    return best
