"""The seasons of series: as given or inferred from the autocorrelation of the training rows, and weeks of days."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cellstate.errors import RequestError

LEAST_CORRELATION = 0.1
DEVIATIONS = 4  # of the autocorrelation of white noise, 1 / sqrt(n)
SEASONS = 4  # that the training rows must contain
MULTIPLES = 8  # of a season at which the autocorrelation is checked
LASTING = 0.5  # share of the autocorrelation at one season that must remain there
NEAR_BEST = 0.8  # of the best: at which a season within a season (day within week) is preferred
DAYS = 7  # seasons in the second season that is looked for
NO_WORSE = 1.1  # mean ratio of the errors of both seasonal naive forecasts up to which the second season is used
BETTER, SHARE = 0.9, 0.25  # or the ratio that this share of the series must have


def check_seasons(given: int | Sequence[int] | None) -> None:
    """Reject several seasons that are none, equal, of one step, or not in order (RequestError)."""
    if given is None or isinstance(given, int):
        return
    steps = list(given)
    if not steps or steps != sorted(set(steps)) or (len(steps) > 1 and steps[0] == 1):
        raise RequestError(
            f"data.season=[{','.join(map(str, steps))}]: give the steps of each season, all different, above 1 and in "
            "increasing order, such as [24,168]"
        )


class Season(NamedTuple):
    """Steps per season, and the autocorrelation at that lag."""

    steps: int
    correlation: float


def seasons_of(
    given: int | Sequence[int] | None, training: Sequence[np.ndarray]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the seasons, increasing, inferred if none are ``given`` (1: none), and facts about them."""
    longest = max(map(len, training))
    if given is not None:
        wanted = sorted({steps for steps in ([given] if isinstance(given, int) else given) if steps > 1})
        kept = tuple(steps for steps in wanted if steps < longest)
        return kept, tuple(
            f"the training rows are shorter than a season of {steps} steps: it is ignored"
            for steps in wanted
            if steps not in kept
        )
    found = inferred_season(training)
    if found is not None:
        return (found.steps,), (
            f"season {found.steps} inferred from the training rows, whose first differences have an "
            f"autocorrelation of {found.correlation:.2f} at that lag (data.season=1 turns it off)",
        )
    return (), (
        "no season: neither the time column nor the autocorrelation of the training rows gives one, so there is no "
        "seasonal naive reference (data.season=STEPS sets one)",
    )


def second_season(
    training: Sequence[np.ndarray], seasons: tuple[int, ...], window: int
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Add a season of 7 seasons, as a week has days, where it forecasts about as well as one; and facts about it.

    With s the season and e(m) = mean |y_t - y_(t - m)| over the training rows t >= 7 s of a series ``(N_i, C)``, it is
    added if the window holds 7 s steps and the mean over series and columns of e(7 s) / e(s) is at most 1.1: a day
    that is as similar to the same day of the week before as to the day before, although that is seven times as far.
    Also if the ratio is at most 0.9 in a quarter of them, as other series may drift.
    """
    if len(seasons) != 1 or (long := DAYS * seasons[0]) > window:
        return seasons, ()
    found = [error_ratios(values, seasons[0], long) for values in training if len(values) > 2 * long]
    ratios = np.array([ratio for part in found for ratio in part])
    if not len(ratios) or (ratios.mean() > NO_WORSE and np.mean(ratios <= BETTER) < SHARE):
        return seasons, ()
    return (seasons[0], long), (
        f"second season {long}: {reason(ratios)} as rows one season apart (data.season=[{seasons[0]}] turns it off)",
    )


def reason(ratios: np.ndarray) -> str:
    """Return which of the two ratios of errors decided for a second season, to be followed by the first season."""
    if (mean := ratios.mean()) > NO_WORSE:
        share = 100 * np.mean(ratios <= BETTER)
        return f"in {share:.0f} % of {len(ratios):,} series rows that far apart differ at most {BETTER} times as much"
    several = f" on average of {len(ratios):,} series" if len(ratios) > 1 else ""
    return f"rows that far apart differ{several} {mean:.2f} times as much"


def error_ratios(values: np.ndarray, short: int, long: int) -> list[float]:
    """Return mean |y_t - y_(t - long)| / mean |y_t - y_(t - short)| of each column of ``(N, C)`` that changes."""
    near = np.abs(values[long:] - values[long - short : -short]).mean(axis=0)
    far = np.abs(values[long:] - values[:-long]).mean(axis=0)
    moving = near > 1e-12 * np.abs(values).max(axis=0)
    return (far[moving] / near[moving]).tolist()


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
