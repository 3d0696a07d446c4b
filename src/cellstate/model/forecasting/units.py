"""Losses in units of the seasonal error of each window, so that all series have the same weight whatever their level.

With q the mean |y_t - y_(t - season)| within a window, |e| / q is what MASE (Hyndman & Koehler 2006) measures over a
whole series. ``owa`` is the mean of that and of the symmetric relative error 2 |e| / (|y| + |forecast|), each divided
by what the seasonal naive forecast has on the training windows: the overall weighted average by which the M4
competition ranked (Makridakis, Spiliotis & Assimakopoulos 2020), with a naive forecast that windows can make.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOST = 20.0  # seasonal errors at which a scaled error is clipped: q of a flat window is tiny
FLAT = 1e-5  # relative to the level: a smaller q is rounding, and the window is ignored


def seasonal_error(window: Tensor, season: int, observed: Tensor | None = None) -> Tensor:
    """Return the mean |y_t - y_(t - season)| of windows ``(N, W, C)``, ``(N, 1, C)``; 0 where there is none.

    Steps that were not observed are ignored. For windows of at most one season the lag is 1.
    """
    lag = season if window.shape[1] > season else 1
    changes = (window[:, lag:] - window[:, :-lag]).abs()
    if observed is None:
        error = changes.mean(1, keepdim=True)
    else:
        both = observed[:, lag:] & observed[:, :-lag]
        error = (changes * both).sum(1, keepdim=True) / both.sum(1, keepdim=True).clamp(min=1)
    level = window.abs().amax(1, keepdim=True)
    return error.where(error > FLAT * level, 0.0)


def scaled_error(error: Tensor, unit: Tensor) -> Tensor:
    """Return ``error (N, H, C)`` in units ``(N, 1, C)``, at most MOST; 0 where there is no unit."""
    measured = unit > 0
    return (error / unit.where(measured, 1.0)).clamp(max=MOST).where(measured, 0.0)


def relative_error(forecast: Tensor, truth: Tensor) -> Tensor:
    """Return 2 |forecast - truth| / (|forecast| + |truth|), 0 where both are 0."""
    size = (forecast.abs() + truth.abs()).clamp(min=torch.finfo(truth.dtype).tiny)
    return 2 * (forecast - truth).abs() / size
