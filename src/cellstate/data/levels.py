"""Levels and spreads of the training rows: the scaler, the scale of mase, and the facts that a model decides on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cellstate.data.box_cox import NONE, BoxCox, box_cox_of
from cellstate.data.splitting import Series
from cellstate.errors import RequestError

SPREADS = 3.0  # ratio of the 90th to the 10th percentile of the deviations of series at which they differ
BLOCK = 8  # least rows of a block whose mean and deviation are related
BLOCKS = 4  # least number of them
STEEP = 0.5  # least slope of log deviation on log level: 0 is no relation, 1 is proportional
SIGNIFICANT = 2.0  # and least standard errors of it above 0
RISE = 1.5  # least ratio of the highest to the lowest level: with less, a logarithm changes next to nothing


@dataclass(frozen=True)
class Levels:
    """The scaler and the facts on levels, as in ``DataSpec``; all arrays ``(C,)``."""

    mean: np.ndarray
    std: np.ndarray
    levels_differ: bool
    log_mean: tuple[float, ...]
    log_std: tuple[float, ...]
    log_suits: bool
    box_cox: BoxCox = NONE


def levels_of(training: Sequence[np.ndarray], season: int) -> Levels:
    """Return scaler and facts of the training rows of all series, ``(N_i, C)`` each.

    The scaler is z = (y - mean) / std, with the mean over all rows and the deviation within the series. Where levels
    differ the mean is 0: z = y / std keeps the relative precision of series near 0 in single precision, which is lost
    if they all are at -mean / std.
    """
    differ, within = levels_differ(training), within_deviation(training)
    rows = np.concatenate(training)
    mean = np.zeros_like(within) if differ else rows.mean(axis=0)
    if not (rows > 0).all():
        return Levels(mean, within, differ, (), (), log_suits=False)
    logs = np.log(rows)
    suits = not differ and all(
        spread_grows([values[:, column] for values in training], season) for column in range(rows.shape[1])
    )
    centre, spread = tuple(logs.mean(axis=0).tolist()), tuple(logs.std(axis=0).tolist())
    return Levels(mean, within, differ, centre, spread, suits, box_cox_of(training, season))


def levels_differ(training: Sequence[np.ndarray]) -> bool:
    """Return whether series ``(N_i, C)`` have different levels or spreads in some column.

    With m and s the mean and the deviation of each series: levels differ if the median of |m - median(m)| is above the
    median of s, so that the typical series is further from the others than it moves; spreads differ if the 90th
    percentile of the positive s is more than 3 times the 10th.
    """
    if len(training) < 2:
        return False
    means = np.stack([values.mean(axis=0) for values in training])  # (S, C)
    deviations = np.stack([values.std(axis=0) for values in training])
    apart = np.median(np.abs(means - np.median(means, axis=0)), axis=0)
    if (apart > np.median(deviations, axis=0)).any():
        return True
    for column in deviations.T:
        moving = column[column > 0]
        if len(moving) and np.quantile(moving, 0.9) > SPREADS * np.quantile(moving, 0.1):
            return True
    return False


def spread_grows(columns: Sequence[np.ndarray], season: int) -> bool:
    """Return whether the deviation within a block grows with its mean, for positive series ``(N_i,)``.

    Blocks are one season (several if it has fewer than 8 steps), or 8 steps without a season, counted from the end. It
    grows if the least-squares slope of the log of the deviation on the log of the mean is above 0.5 and more than 2
    standard errors above 0, and the mean of the highest block is at least 1.5 times that of the lowest. A logarithm
    then makes the deviations more equal (Box & Cox 1964).
    """
    block = season * -(-BLOCK // season)
    parts = [values[len(values) % block :].reshape(-1, block) for values in columns]
    blocks = np.concatenate(parts)
    means, deviations = blocks.mean(axis=1), blocks.std(axis=1)
    moving = deviations > 1e-12 * means
    if moving.sum() < BLOCKS:
        return False
    x, y = np.log(means[moving]), np.log(deviations[moving])
    if np.ptp(x) < np.log(RISE):
        return False
    x, y = x - x.mean(), y - y.mean()
    slope = float(x @ y / (x @ x))
    error = float(np.sqrt(np.sum((y - slope * x) ** 2) / (len(x) - 2) / (x @ x)))
    return slope > STEEP and slope > SIGNIFICANT * error


def check_constant(series: Series, training: Sequence[np.ndarray]) -> None:
    """Reject targets that are constant over the training rows of every series.

    Raises:
        RequestError: names the column.
    """
    # The range, as rounding can leave the deviation of a constant above 0.
    spread = np.max([np.ptp(values, axis=0) for values in training], axis=0)
    constant = [name for name, width in zip(series.names, spread, strict=True) if not width > 0]
    if constant:
        raise RequestError(
            f"{series.source}: column {constant[0]!r} is constant over all training rows"
            f"{' of each series' if series.ids else ''}, so there is nothing to forecast; choose another data.target"
        )


def within_deviation(training: Sequence[np.ndarray]) -> np.ndarray:
    """Return the root of the mean of (y - mean of its series)^2 over the rows of all series ``(N_i, C)``, ``(C,)``."""
    squares = sum(len(values) * values.var(axis=0) for values in training)
    return np.sqrt(squares / sum(map(len, training)))


def naive_error_within(training: Sequence[np.ndarray], season: int) -> tuple[float, ...]:
    """Return mean |y_t - y_(t - season)| over the rows of all series ``(N_i, C)``: one scale q of mase per column.

    Empty if a column repeats exactly from season to season (up to rounding), so that q would be 0.
    """
    errors = np.concatenate([np.abs(values[season:] - values[:-season]) for values in training]).mean(axis=0)
    rounding = 1e-12 * np.abs(np.concatenate(training)).max(axis=0)
    return tuple(errors.tolist()) if (errors > rounding).all() else ()
