"""The exponent of the Box-Cox transform that makes the variation of series independent of their level.

y -> (y^λ - 1) / λ, and log y for λ = 0 (Box & Cox, An Analysis of Transformations, 1964).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

EXPONENTS = np.arange(-100, 201) / 100  # from which one is chosen, the range of R's forecast::BoxCox.lambda
MOST_SERIES = 1000  # evenly spaced


@dataclass(frozen=True)
class BoxCox:
    """Exponents, and mean and deviation of the transformed training rows, a number for each target.

    Values are divided by their geometric mean first, which only shifts and scales the result, and keeps its precision.
    """

    exponent: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


NONE = BoxCox((), (), ())  # of values that are not all positive


def box_cox_of(training: Sequence[np.ndarray], season: int) -> BoxCox:
    """Return the transform of the positive training rows of all series, ``(N_i, C)`` each."""
    logs = np.log(np.concatenate(training))
    exponents = [guerrero([values[:, column] for values in training], season) for column in range(training[0].shape[1])]
    moved = transformed(logs - logs.mean(axis=0), np.array(exponents))
    return BoxCox(tuple(exponents), tuple(moved.mean(axis=0).tolist()), tuple(moved.std(axis=0).tolist()))


def transformed(logs: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """Return the transform of exp(``logs``), ``(N, C)`` with exponents ``(C,)``."""
    safe = np.where(exponents == 0, 1.0, exponents)
    return np.where(exponents == 0, logs, np.expm1(safe * logs) / safe)


def guerrero(columns: Sequence[np.ndarray], season: int) -> float:
    """Return the exponent by Guerrero's method, for positive series ``(N_i,)``; 1 if they are too short for one.

    With m and s the mean and the deviation within each block of one season (at least two steps), counted from the end,
    it minimises the coefficient of variation of s / m^(1 - λ) over the blocks of a series, on average over the series
    (Guerrero, Time-series analysis supported by power transformations, Journal of Forecasting 1993).
    """
    size = max(season, 2)
    total = np.zeros(len(EXPONENTS))
    for values in columns[:: -(-len(columns) // MOST_SERIES)]:
        blocks = values[len(values) % size :].reshape(-1, size)
        if len(blocks) < 2:
            continue
        means, deviations = blocks.mean(axis=1), blocks.std(axis=1, ddof=1)
        if not deviations.any():
            continue
        level = np.log(means / means.mean())  # a unit does not matter to the coefficient of variation
        ratios = deviations[:, None] * np.exp(level[:, None] * (EXPONENTS - 1))
        total += ratios.std(axis=0, ddof=1) / ratios.mean(axis=0)
    return float(EXPONENTS[total.argmin()]) if total.any() else 1.0
