"""Baseline predictors without a network.

Forecasts are ``(M, horizon, C)`` for targets that start at rows ``starts (M,)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from cellstate.metrics.classification import constant_scores

RIDGE_STRENGTHS = tuple(10.0**power for power in range(-3, 6))
RIDGE_WINDOWS = 50_000  # most windows for fitting and for validation, evenly spaced
LEAST_CHANGES = 4  # from season to season, needed to estimate the significance of a drift


def majority(training: Tensor, labels: Tensor, classes: int) -> dict[str, dict[str, float]]:
    """Always predict the most common class of ``training (M,)``; scored on ``labels (N,)``.

    Returns:
        metric -> ``majority`` -> score. The loss uses the class frequencies of the training split as probabilities.
    """
    scores = constant_scores(training.bincount(minlength=classes), labels)
    return {metric: {"majority": value} for metric, value in scores.items()}


def last_value(values: np.ndarray, starts: np.ndarray, horizon: int) -> np.ndarray:
    """Repeat the last observation of ``values (N, C)``."""
    return np.repeat(values[starts - 1][:, None], horizon, axis=1)


def seasonal_naive(
    values: np.ndarray,
    starts: np.ndarray,
    horizon: int,
    season: int,
    drift: np.ndarray | None = None,
    first: np.ndarray | int = 0,
) -> np.ndarray:
    """Repeat the last season: step h (from 0) takes the value ``season * (h // season + 1)`` steps before it.

    With ``drift (C,)`` or ``(M, C)``, the mean change from one season to the next, it is added once for every season
    ahead. ``first``, or ``(M,)``, is the first row of the series: no row before it is used.
    """
    ahead = np.arange(horizon) // season + 1
    rows = np.maximum(starts[:, None] + np.arange(horizon) - season * ahead, np.reshape(first, (-1, 1)))
    forecast = values[rows]
    return forecast if drift is None else forecast + ahead[:, None] * np.reshape(drift, (-1, 1, values.shape[1]))


def seasonal_drift(training: np.ndarray, season: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the drift of ``training (N, C)`` from season to season, ``(C,)``, and how far from 0 that is, ``(C,)``.

    The drift is the mean of y_t - y_(t - season). Its standard error is that of a random walk of seasons (Hyndman &
    Athanasopoulos, Forecasting: Principles and Practice, 5.2): with D_k the change of the mean from the season k - 1 to
    k, of K full seasons counted from the end, it is sd(D) / sqrt(K - 1). The second array is mean(D) in such standard
    errors; 0 with fewer than LEAST_CHANGES changes, too few to estimate their spread.
    """
    columns = training.shape[1]
    if len(training) <= season:
        return np.zeros(columns), np.zeros(columns)
    drift = (training[season:] - training[:-season]).mean(axis=0)
    whole = len(training) // season
    if whole - 1 < LEAST_CHANGES:
        return drift, np.zeros(columns)
    changes = np.diff(training[len(training) - whole * season :].reshape(whole, season, columns).mean(axis=1), axis=0)
    mean, error = changes.mean(axis=0), changes.std(axis=0, ddof=1) / (whole - 1) ** 0.5
    rounding = 1e-12 * np.abs(training).max(axis=0)
    return drift, np.where(np.abs(mean) <= rounding, 0.0, mean / np.maximum(error, rounding + np.finfo(float).tiny))


def ridge_linear(
    values: np.ndarray,
    starts: Mapping[str, np.ndarray],
    reported: np.ndarray,
    window: int,
    horizon: int,
    scale: Sequence[float] | None = None,
) -> np.ndarray:
    """Fit one linear map per column from the window to the horizon, both relative to the window's last value.

    Its only input is the column that it forecasts.

    With X the windows and Y the targets of the training split, each minus the last observed value, the map is
    ``(X'X + s I)^-1 X'Y`` (Hoerl & Kennard 1970) on columns of unit variance; the strength s is the one of
    RIDGE_STRENGTHS with the smallest squared error on the validation split. ``scale`` is the deviation of each column
    if there are several series; by default it is that of the training rows.
    """
    if scale is None:
        scale = [column[: starts["train"][-1]].std() for column in values.T]
    columns = [
        _ridge_column(column / (deviation or 1.0), starts, reported, window, horizon) * (deviation or 1.0)
        for column, deviation in zip(values.T, scale, strict=True)
    ]
    return np.stack(columns, axis=-1)


def _ridge_column(
    column: np.ndarray, starts: Mapping[str, np.ndarray], reported: np.ndarray, window: int, horizon: int
) -> np.ndarray:
    stride = -(-len(starts["train"]) // RIDGE_WINDOWS)
    inputs, targets, _ = _relative(column, starts["train"][::stride], window, horizon)
    power, product = inputs.T @ inputs, inputs.T @ targets
    thinned = starts["val"][:: -(-len(starts["val"]) // RIDGE_WINDOWS)]
    val_inputs, val_targets, _ = _relative(column, thinned, window, horizon)
    best, best_error = np.zeros((window, horizon)), np.inf
    for strength in RIDGE_STRENGTHS:
        weights = np.linalg.solve(power + strength * np.eye(window), product)
        error = float(np.mean((val_inputs @ weights - val_targets) ** 2))
        if error < best_error:
            best, best_error = weights, error
    forecasts = []
    for at in range(0, len(reported), RIDGE_WINDOWS):
        inputs, _, last = _relative(column, reported[at : at + RIDGE_WINDOWS], window, horizon)
        forecasts.append(inputs @ best + last)
    return np.concatenate(forecasts)


def _relative(
    column: np.ndarray, starts: np.ndarray, window: int, horizon: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return windows ``(M, window)`` and targets ``(M, horizon)`` minus the last value, and that value ``(M, 1)``."""
    last = column[starts - 1][:, None]
    windows = np.lib.stride_tricks.sliding_window_view(column, window)[starts - window]
    targets = np.lib.stride_tricks.sliding_window_view(column, horizon)[starts]
    return windows - last, targets - last, last
