"""The season of a series that no clock gives, read off the autocorrelation of its training rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEAST_CORRELATION = 0.1
DEVIATIONS = 4  # of the autocorrelation of white noise, 1 / sqrt(n)
SEASONS = 4  # that the training rows must hold
MULTIPLES = 8  # of a season, which are looked at as far as the rows reach
LASTING = 0.5  # share of the autocorrelation at one season that they must keep
NEAR_BEST = 0.8  # of the best, from which on a season within a season (a day, a week) is the one taken


class Season(NamedTuple):
    """Steps of a season, and the autocorrelation there."""

    steps: int
    correlation: float


def inferred_season(training: Sequence[np.ndarray]) -> Season | None:
    """Return the season of one or several series ``(N_i, C)``, or None where they have none.

    The changes from step to step are looked at, as a trend or a random walk has no season in them. With r their
    autocorrelation and c(m) its mean over the lags m, 2m, … 8m, as far as the rows reach, a season m has

        r(m) > max(0.1, 4 / sqrt(n), max r / 2),   c(m), r(2m), r(3m) > r(m) / 2,
        |mean of r over the lags m + 1 … 2m| < r(m) / 2:

    white noise stays below the first (a thousand lags exceed four deviations once in sixteen series); what swings
    without keeping its beat falls below the second; and over a whole season the changes sum to 0 and so does r, while
    neighbours that are alike pass the others at any lag. At least four seasons must fit the training rows. The
    season is the one with the highest c, as multiples tell 50 from 51 steps better than one peak does; or the shortest
    that fits into it a whole number of times with a c of 0.8 of that. Columns and series are averaged, by their length.
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
    within: dict[int, int] = {}  # how many times into the best -> the lag that does so best
    for lag, comb in combs.items():
        times = round(best / lag)
        if abs(best - times * lag) <= times / 2 and comb >= NEAR_BEST * combs[best]:
            within[times] = max(lag, within.get(times, lag), key=lambda other: combs[other])
    steps = within[max(within)]
    return Season(steps, float(r[steps]))


def autocorrelation(values: np.ndarray, lags: int) -> np.ndarray | None:
    """Return the mean over columns of the autocorrelation of ``values (N, C)`` at lags 0 … lags - 1, 0 beyond N.

    r(k) = (N / (N - k)) sum_t x_t x_(t+k) / sum_t x_t^2, x without its mean, by Fourier transform. Columns that never
    change count as 0; None where all of them do.
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
