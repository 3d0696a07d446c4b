"""Inference of the season from the autocorrelation of the training rows, for series without a time column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEAST_CORRELATION = 0.1
DEVIATIONS = 4  # of the autocorrelation of white noise, 1 / sqrt(n)
SEASONS = 4  # that the training rows must contain
MULTIPLES = 8  # of a season at which the autocorrelation is checked
LASTING = 0.5  # share of the autocorrelation at one season that must remain there
NEAR_BEST = 0.8  # of the best: at which a season within a season (day within week) is preferred


class Season(NamedTuple):
    """Steps per season, and the autocorrelation at that lag."""

    steps: int
    correlation: float


def inferred_season(training: Sequence[np.ndarray]) -> Season | None:
    """Return the season of one or several series ``(N_i, C)``, or None if there is none.

    It is inferred from first differences, in which a trend or a random walk has no season. With r their
    autocorrelation and c(m) its mean over the lags m, 2m, … 8m, as far as the rows reach, a season m has

        r(m) > max(0.1, 4 / sqrt(n), max r / 2),   c(m), r(2m), r(3m) > r(m) / 2,
        |mean of r over the lags m + 1 … 2m| < r(m) / 2:

    white noise stays below the first (a thousand lags exceed four deviations once in sixteen series); irregular
    oscillations fail the second; over a full season the changes and r sum to 0, while a smooth series would pass the
    first two at any lag. The training rows must contain at least four seasons. The season is the lag with the highest
    c, as multiples distinguish 50 from 51 steps better than a single peak; or the shortest integer fraction of it whose
    c is at least 0.8 of that. Columns and series are averaged, weighted by length.
    """
    changes = [np.diff(values, axis=0) for values in training if len(values) > 2 * SEASONS]
    if not changes:
        return None
    longest = max(map(len, changes))
    total, rows = np.zeros(3 * longest // SEASONS + 4), 0
    for part in changes:
        found = autocorrelation(part, len(total))
        if found is not None:
            total += len(part) * found
            rows += len(part)
    if rows == 0:
        return None
    r = total / rows
    least = max(LEAST_CORRELATION, DEVIATIONS / rows**0.5, LASTING * r[2 : longest // SEASONS + 1].max(initial=0))
    combs: dict[int, float] = {}
    for lag in range(2, longest // SEASONS + 1):
        kept = LASTING * r[lag]
        multiples = r[lag::lag][:MULTIPLES]
        lasting = multiples.mean() > kept and multiples[:3].min() > kept
        if r[lag] > least and lasting and abs(r[lag + 1 : 2 * lag + 1].mean()) < kept:
            combs[lag] = float(multiples.mean())
    if not combs:
        return None
    best = max(combs, key=lambda lag: combs[lag])
    within: dict[int, int] = {}  # divisor of the best -> the best lag with that divisor
    for lag, comb in combs.items():
        times = round(best / lag)
        if abs(best - times * lag) <= times / 2 and comb >= NEAR_BEST * combs[best]:
            within[times] = max(lag, within.get(times, lag), key=lambda other: combs[other])
    steps = within[max(within)]
    return Season(steps, float(r[steps]))


def autocorrelation(values: np.ndarray, lags: int) -> np.ndarray | None:
    """Return the mean over columns of the autocorrelation of ``values (N, C)`` at lags 0 … lags - 1, 0 beyond N.

    r(k) = (N / (N - k)) sum_t x_t x_(t+k) / sum_t x_t^2, x without its mean, by Fourier transform. Constant
    columns count as 0; None if all are constant.
    """
    deviations = values - values.mean(axis=0)
    size = len(values)
    spectrum = np.fft.rfft(deviations, 2 * size, axis=0)
    products = np.fft.irfft(np.abs(spectrum) ** 2, 2 * size, axis=0)[: min(size, lags)]
    power = products[0]
    moving = power > 1e-12 * np.maximum((values**2).sum(axis=0), np.finfo(float).tiny)
    if not moving.any():
        return None
    r = np.zeros((len(products), values.shape[1]))
    pairs = size - np.arange(len(products))
    r[:, moving] = products[:, moving] / power[moving] * (size / pairs)[:, None]
    return np.pad(r.mean(axis=1), (0, lags - len(products)))
