"""Naive2, the benchmark of the M competitions: the last value, seasonally adjusted if the series is seasonal.

Source: Makridakis, Spiliotis & Assimakopoulos, The M4 Competition, International Journal of Forecasting, 2020, and the
R code of its organisers (``Benchmarks and Evaluation.R``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CRITICAL = 1.645  # two-sided 90 % of the normal distribution
PERIODS = 3  # least number of seasons in which a season is tested for


@dataclass(frozen=True)
class SeasonalIndices:
    """The seasonal indices of each series and column by position in the season, counted from its first row.

    Attributes:
        factors: ``(S, season, C)``, 1 where there are none.
        terms: ``(S, season, C)``, 0 where there are none: of series with values that are not positive.
    """

    factors: np.ndarray
    terms: np.ndarray

    def forecast(self, last: np.ndarray, owners: np.ndarray, rows: np.ndarray, horizon: int) -> np.ndarray:
        """Repeat the adjusted last value and put the season back: ``(M, horizon, C)``.

        Args:
            last: ``(M, C)`` the value before each forecast.
            owners: ``(M,)`` the series of each.
            rows: ``(M,)`` the row within its series of the first step to forecast.
            horizon: steps to forecast.
        """
        season = self.factors.shape[1]
        now, then = (rows - 1) % season, (rows[:, None] + np.arange(horizon)) % season
        level = (last - self.terms[owners, now]) / self.factors[owners, now]
        owners = owners[:, None]
        return level[:, None] * self.factors[owners, then] + self.terms[owners, then]


def seasonal_indices(history: Sequence[np.ndarray], season: int) -> SeasonalIndices:
    """Return the seasonal indices of all series by their history ``(N_i, C)``, by which they are tested and decomposed.

    The decomposition is multiplicative, as in the competition, whose values are all positive; additive where a value is
    not.
    """
    columns = history[0].shape[1]
    factors, terms = np.ones((len(history), season, columns)), np.zeros((len(history), season, columns))
    for place, values in enumerate(history):
        for number, column in enumerate(values.T):
            if not is_seasonal(column, season):
                continue
            if (column > 0).all():
                factors[place, :, number] = decomposed(column, season, multiplicative=True)
            else:
                terms[place, :, number] = decomposed(column, season, multiplicative=False)
    return SeasonalIndices(factors, terms)


def is_seasonal(values: np.ndarray, season: int) -> bool:
    """Return whether the autocorrelation of ``values (N,)`` at lag ``season`` is significant at 90 %.

    With r_k the autocorrelation and m the season, |r_m| > 1.645 sqrt((1 + 2 (r_1^2 + … + r_m^2)) / N), as in the
    competition's code; at least three seasons are needed.
    """
    if season < 2 or len(values) < PERIODS * season:
        return False
    deviations = values - values.mean()
    power = deviations @ deviations
    if not power > 1e-24 * (values @ values):
        return False
    r = np.array([deviations[lag:] @ deviations[:-lag] for lag in range(1, season + 1)]) / power
    return bool(abs(r[-1]) > CRITICAL * np.sqrt((1 + 2 * np.sum(r**2)) / len(values)))


def decomposed(values: np.ndarray, season: int, *, multiplicative: bool) -> np.ndarray:
    """Return the seasonal indices ``(season,)`` of the classical decomposition of ``values (N,)``.

    The trend is the centred moving average over one season (of an even one with half weights at both ends). An index
    is the mean over seasons of value / trend, and their mean is 1; if additive, of value - trend, and it is 0.
    """
    weights = np.full(season, 1 / season)
    if season % 2 == 0:
        weights = np.concatenate(([0.5], np.ones(season - 1), [0.5])) / season
    trend = np.convolve(values, weights, mode="valid")
    first = len(weights) // 2
    inner = values[first : first + len(trend)]
    ratio = inner / trend if multiplicative else inner - trend
    places = (first + np.arange(len(trend))) % season
    means = np.bincount(places, ratio, season) / np.bincount(places, minlength=season)
    return means / means.mean() if multiplicative else means - means.mean()
