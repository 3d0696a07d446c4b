"""Predictors that need no network.

Forecasts return ``(M, horizon, C)`` for target rows that begin at ``starts (M,)``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from cellstate.metrics.classification import constant_scores

RIDGE_STRENGTHS = tuple(10.0**power for power in range(-3, 6))
RIDGE_WINDOWS = 50_000  # at most so many training windows, evenly spaced: a linear map needs no more


def majority(training: Tensor, labels: Tensor, classes: int) -> dict[str, dict[str, float]]:
    """Always answer with the class that is most common among ``training (M,)``; scored on ``labels (N,)``.

    Returns:
        metric -> ``majority`` -> score. Its loss is that of the training split's class shares as probabilities.
    """
    scores = constant_scores(training.bincount(minlength=classes), labels)
    return {metric: {"majority": value} for metric, value in scores.items()}


def last_value(values: np.ndarray, starts: np.ndarray, horizon: int) -> np.ndarray:
    """Repeat the newest observation of ``values (N, C)``."""
    return np.repeat(values[starts - 1][:, None], horizon, axis=1)


def seasonal_naive(
    values: np.ndarray, starts: np.ndarray, horizon: int, season: int, drift: np.ndarray | None = None
) -> np.ndarray:
    """Repeat the last season: step h (from 0) takes the value ``season * (h // season + 1)`` steps before it.

    With ``drift (C,)``, the mean change from one season to the next, it is added once for every season ahead.
    """
    ahead = np.arange(horizon) // season + 1
    rows = np.maximum(starts[:, None] + np.arange(horizon) - season * ahead, 0)
    forecast = values[rows]
    return forecast if drift is None else forecast + ahead[:, None] * drift


def ridge_linear(
    values: np.ndarray, starts: Mapping[str, np.ndarray], reported: np.ndarray, window: int, horizon: int
) -> np.ndarray:
    """Fit one linear map a column from the window to the horizon, both relative to the window's last value.

    With X the windows and Y the targets of the training split, each minus the last observed value, the map is
    ``(X'X + s I)^-1 X'Y`` (Hoerl & Kennard 1970) on columns of unit variance; the strength s is the one of
    RIDGE_STRENGTHS with the least squared error on the validation split.
    """
    columns = [_ridge_column(column, starts, reported, window, horizon) for column in values.T]
    return np.stack(columns, axis=-1)


def _ridge_column(
    column: np.ndarray, starts: Mapping[str, np.ndarray], reported: np.ndarray, window: int, horizon: int
) -> np.ndarray:
    stride = -(-len(starts["train"]) // RIDGE_WINDOWS)
    scale = column[: starts["train"][-1]].std() or 1.0
    column = column / scale
    inputs, targets, _ = _relative(column, starts["train"][::stride], window, horizon)
    power, product = inputs.T @ inputs, inputs.T @ targets
    val_inputs, val_targets, _ = _relative(column, starts["val"], window, horizon)
    best, best_error = np.zeros((window, horizon)), np.inf
    for strength in RIDGE_STRENGTHS:
        weights = np.linalg.solve(power + strength * np.eye(window), product)
        error = float(np.mean((val_inputs @ weights - val_targets) ** 2))
        if error < best_error:
            best, best_error = weights, error
    inputs, _, last = _relative(column, reported, window, horizon)
    return (inputs @ best + last) * scale


def _relative(
    column: np.ndarray, starts: np.ndarray, window: int, horizon: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return windows ``(M, window)`` and targets ``(M, horizon)`` minus the last value, and that value ``(M, 1)``."""
    last = column[starts - 1][:, None]
    windows = np.lib.stride_tricks.sliding_window_view(column, window)[starts - window]
    targets = np.lib.stride_tricks.sliding_window_view(column, horizon)[starts]
    return windows - last, targets - last, last
