"""Ridge regression of the horizon on the window, the linear reference of a forecaster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cellstate.data.ridge import STRENGTHS, cross_validated, ridge

MOST_WINDOWS = 50_000  # for fitting, evenly spaced
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
        """Return normalised windows ``(M, window)`` and targets ``(M, horizon)``."""
        inputs, centre, spread = self.inputs(starts)
        targets = (np.lib.stride_tricks.sliding_window_view(self.values, self.horizon)[starts] - centre) / spread
        return inputs, np.clip(targets, -OUTLIER, OUTLIER) if self.standardise else targets


def ridge_linear(
    values: np.ndarray,
    training: np.ndarray,
    reported: np.ndarray,
    window: int,
    horizon: int,
    scale: Sequence[float] | None = None,
    *,
    firsts: np.ndarray | None = None,
    standardise: bool = False,
) -> np.ndarray:
    """Fit one linear map per column from the window to the horizon, both relative to the window's last value.

    Its only input is the column that it forecasts. The map is a ridge regression (``data.ridge``) on the windows of the
    training split, with targets at the rows ``training (M,)``, on columns of unit variance. Its penalty has the
    smallest absolute error in cross-validation over blocks of time within them. ``scale`` is the deviation of each
    column if there are several series; by default it is that of the training rows.

    With ``standardise``, for series of different levels, each window has mean 0 and variance 1 instead, and targets
    further than 10 deviations from it are clipped in the fit. ``firsts (N,)`` is the first row of the series of each
    row, if windows may be longer than the rows before: they then begin with copies of that row.
    """
    if scale is None:
        scale = [column[: training[-1]].std() for column in values.T]
    columns = []
    for column, deviation in zip(values.T, scale, strict=True):
        unit = deviation or 1.0
        columns.append(
            _forecast(Column(column / unit, window, horizon, firsts, standardise), training, reported) * unit
        )
    return np.stack(columns, axis=-1)


def _forecast(column: Column, training: np.ndarray, reported: np.ndarray) -> np.ndarray:
    weight, bias = _fitted(column, training)
    forecasts = []
    for at in range(0, len(reported), MOST_WINDOWS):
        inputs, centre, spread = column.inputs(reported[at : at + MOST_WINDOWS])
        forecasts.append((inputs @ weight + bias) * spread + centre)
    return np.concatenate(forecasts)


def _fitted(column: Column, training: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return weights ``(window, horizon)`` and intercept ``(horizon,)``."""
    stride = -(-len(training) // MOST_WINDOWS)
    inputs, targets = (torch.from_numpy(part) for part in column.pairs(training[::stride]))
    penalties = [torch.full((column.window,), strength, dtype=torch.float64) for strength in reversed(STRENGTHS)]
    errors = cross_validated(inputs, targets, penalties, gap=-(-(column.horizon - 1) // stride))
    weight, bias = ridge(inputs, targets, penalties[int(np.argmin(errors))])  # of too few windows the strongest
    return weight.numpy(), bias.numpy()
