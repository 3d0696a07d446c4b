"""Baseline predictors without a network.

Forecasts are ``(M, horizon, C)`` for targets that start at rows ``starts (M,)``.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from cellstate.metrics.classification import constant_scores

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


def drift(values: np.ndarray, starts: np.ndarray, horizon: int, rows: np.ndarray) -> np.ndarray:
    """Continue the line through the first and the last observation of each series.

    y_T + h (y_T - y_1) / (T - 1), with all rows of the series up to the forecast (Hyndman & Athanasopoulos,
    Forecasting: Principles and Practice, 5.2); ``rows (M,)`` is their number T for each window.
    """
    last, first = values[starts - 1], values[starts - rows]
    slope = (last - first) / np.maximum(rows - 1, 1)[:, None]
    return last[:, None] + np.arange(1, horizon + 1)[:, None] * slope[:, None]


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
