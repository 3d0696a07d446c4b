"""Time series cut into windows: the positions of the windows of each split, and the defaults for their lengths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from cellstate.data.samples import WindowSamples
from cellstate.data.season import seasons_of, second_season
from cellstate.data.splitting import SPLITS, Series, borders_from_end, spans, split_borders, training_rows
from cellstate.errors import RequestError

SEASONS = 14  # of a window by default: two weeks of hourly data
SHARES = (0.7, 0.1, 0.2)  # of training, validation and test by default
Short = Literal["error", "skip", "pad"]


@dataclass(frozen=True)
class Windows:
    """The positions of the windows of each split in ``series``.

    A window has at least ``least`` rows of its series; the steps before them are padding. Series with ``horizon`` or
    more full windows are trained on those alone, as padding would only repeat what they contain.
    """

    series: Series
    window: int
    horizon: int
    seasons: tuple[int, ...]  # steps per season, increasing; empty: none
    borders: np.ndarray  # (S, 4) row of each series at which its splits start, and the last one ends
    least: int
    facts: tuple[str, ...] = ()

    @property
    def season(self) -> int:
        """Steps per season, of several seasons the shortest; 1: none."""
        return self.seasons[0] if self.seasons else 1

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The existing splits: there may be no test split."""
        return SPLITS if (self.borders[:, 3] > self.borders[:, 2]).any() else SPLITS[:2]

    @cached_property
    def _places(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        places = {}
        for at, name in enumerate(self.names):
            first = np.maximum(self.borders[:, at], self.least)
            last = self.borders[:, at + 1] - self.horizon
            if name == "train":
                first = np.where(last - self.window + 1 >= self.horizon, np.maximum(first, self.window), first)
            rows = [np.arange(begin, end + 1) for begin, end in zip(first, last, strict=True)]
            owners = np.repeat(np.arange(len(rows)), [len(part) for part in rows])
            places[name] = owners, np.concatenate(rows)
        return places

    def owners(self, split: str) -> np.ndarray:
        """Return the index of the series of each window, ``(M,)``."""
        return self._places[split][0]

    def rows(self, split: str) -> np.ndarray:
        """Return the row within its series at which each window's targets start, ``(M,)``."""
        return self._places[split][1]

    def starts(self, split: str) -> np.ndarray:
        """Return the row of the concatenated series at which each window's targets start, ``(M,)``."""
        return self.series.firsts[self.owners(split)] + self.rows(split)

    def firsts(self, split: str) -> np.ndarray:
        """Return the first row of the series of each window, ``(M,)``."""
        return self.series.firsts[self.owners(split)]

    @cached_property
    def padded(self) -> bool:
        """Whether windows may reach before the first row of their series."""
        return self.least < self.window

    @property
    def training(self) -> list[np.ndarray]:
        """The training rows of each series, ``(N_i, C)``."""
        return training_rows(self.series, self.borders)

    def before(self, split: str) -> list[np.ndarray]:
        """Return the rows of each series before a split, ``(N_i, C)``."""
        stops = self.borders[:, self.names.index(split)]
        return [self.series.values[first : first + stop] for first, stop in zip(self.series.firsts, stops, strict=True)]

    def samples(self, split: str, values: np.ndarray, covariates: np.ndarray | None) -> WindowSamples:
        """Return a split of scaled ``values (N, C)``, without any later rows."""
        kept = self.borders[:, 1 + self.names.index(split)]
        rows = slice(0, int(kept[0])) if len(kept) == 1 else spans(self.series.firsts, kept)
        firsts = np.cumsum((0, *kept[:-1]))[self.owners(split)]
        return WindowSamples(
            torch.from_numpy(values[rows]),
            torch.from_numpy(firsts + self.rows(split)),
            self.window,
            self.horizon,
            None if covariates is None else torch.from_numpy(covariates[rows]),
            torch.from_numpy(firsts) if (self.rows(split) < self.window).any() else None,
        )

    def without_test(self) -> Windows:
        """Return the same windows, of series truncated at the end of the validation split."""
        kept = self.borders[:, 2]
        return replace(self, series=self.series.head(kept), borders=np.column_stack((self.borders[:, :3], kept)))

    def too_short(self, *, spare_training: bool) -> list[tuple[int, str]]:
        """Return the index of each series without a sample in some split, and the first such split.

        With ``spare_training`` a series needs none in the training split, but the rows to pad a window.
        """
        enough = [np.bincount(self.owners(name), minlength=len(self.borders)) > 0 for name in self.names]
        if spare_training:
            enough[0] = self.borders[:, 1] >= self.least
        lacking = ~np.stack(enough, axis=1)  # (S, splits)
        return [
            (int(number), self.names[int(lacking[number].argmax())]) for number in np.flatnonzero(lacking.any(axis=1))
        ]

    def lacking(self, number: int) -> int:
        """Return how many rows a series lacks for a window to pad and a horizon in validation and test.

        A series that has them in all, but split otherwise, lacks rows of its splits.
        """
        needed = np.array([self.least, *[self.horizon] * (len(self.names) - 1)])
        rows = np.diff(self.borders[number])[: len(needed)]
        return int(max(needed.sum() - rows.sum(), 0) or np.maximum(needed - rows, 0).sum())


def cut(
    series: Series,
    *,
    borders: Callable[[int], Sequence[int]] | None,
    window: int | None,
    horizon: int | None,
    short: Short,
    pad: bool,
) -> Windows:
    """Cut series into windows.

    Args:
        series: the series.
        borders: maps the number of rows of a series (without those of a test file) to the borders of its splits; None
            uses the default, see ``default_borders``.
        window: input steps; None uses the default of the series, else ``default_window`` or ``padded_window``.
        horizon: steps to forecast; None uses the default of the series, else one season, else 12 steps.
        short: treatment of series without a sample in each split.
        pad: whether windows may begin before their series does. Series without a sample in the training split are
            then kept, as they can be forecast all the same.

    Raises:
        RequestError: a series is too short for a sample in each split (and ``short`` is not ``skip``), or the window
            is shorter than the horizon with covariates known in advance.
    """

    def limits_for(steps: int, least: int) -> tuple[np.ndarray, tuple[str, ...]]:
        if borders is None:
            return default_borders(series, steps, least, pad=pad)
        return given_borders(series, borders), ()

    wanted = horizon or series.horizon
    limits, _ = limits_for(wanted or 1, 2)
    seasons, _ = seasons_of(series.season, training_rows(series, limits))
    usual = longest_given(series) or (seasons[0] if seasons else 1)  # also if the training rows are fewer
    horizon = wanted or (usual if usual > 1 else 12)
    limits, split_facts = limits_for(horizon, least_rows(window, usual) if pad else window or max(usual, 2))
    seasons, facts = seasons_of(series.season, training_rows(series, limits))
    if window is None:
        window = series.window or window_for(series, limits, usual, horizon, skip=short == "skip", pad=pad)
    if series.known and window < horizon:
        raise RequestError(
            f"data.window={window} is shorter than data.horizon={horizon}, so windows cannot contain all values "
            f"known in advance ({', '.join(series.known)}); set data.window={horizon} or more"
        )
    if series.season is None or isinstance(series.season, int):  # several are used as they are given
        seasons, more = second_season(training_rows(series, limits), seasons, window)
        facts += more
    least = least_rows(window, seasons[0] if seasons else 1) if pad else window
    windows = Windows(series, window, horizon, seasons, limits, least, (*split_facts, *facts))
    return long_enough(windows, skip=short == "skip", pad=pad)


def long_enough(windows: Windows, *, skip: bool, pad: bool) -> Windows:
    """Return the windows without series that are too short, or raise an error that names one; see ``cut``."""
    series = windows.series
    found = windows.too_short(spare_training=pad and series.several and len(windows.owners("train")) > 0)
    if not found:
        return windows
    if not series.ids or not skip or len(found) == len(series.ids):
        number, split = found[0]
        if split == "test" and series.test_rows:
            raise RequestError(_short_test_file(windows, number))
        raise RequestError(_too_short(windows, number, split, others=len(found) - 1))
    left_out = {number for number, _ in found}
    kept = [number for number in range(len(series.ids)) if number not in left_out]
    names = some(f"{series.ids[number]} (by {_rows(windows.lacking(number))})" for number in sorted(left_out))
    facts = (*windows.facts, f"{len(left_out):,} series ignored, too short for a sample in each split: {names}")
    return replace(windows, series=series.only(kept), borders=windows.borders[kept], facts=facts)


def some(names: Iterable[str], most: int = 5) -> str:
    """Return the first of many names, as an enumeration."""
    listed = list(names)
    return ", ".join(listed[:most]) + (", …" if len(listed) > most else "")


def _rows(count: int) -> str:
    return f"{count:,} row{'s' if count != 1 else ''}"


def _short_test_file(windows: Windows, number: int) -> str:
    series, horizon = windows.series, windows.horizon
    whose = f" of series {series.ids[number]!r}" if series.ids else ""
    return (
        f"data.test_path: the test file has {_rows(series.test_rows[number])}{whose}, fewer than "
        f"data.horizon={horizon}; give more rows, or a smaller data.horizon"
    )


def _too_short(windows: Windows, number: int, split: str, others: int) -> str:
    series, window, horizon = windows.series, windows.window, windows.horizon
    rows = np.diff(windows.borders[number])[SPLITS.index(split)]
    whose = f"series {series.ids[number]!r}" if series.ids else "the series"
    inside = "" if split == "train" else f", {horizon} of them in this split"
    remedy = "" if split == "train" else ", or a larger share of this split with data.split"
    if series.ids and others + 1 < len(series.ids):
        remedy += ", or ignore such series with data.short=skip"
        remedy += f" ({others:,} more of {len(series.ids):,} are too short)" if others else ""
    needs = f"data.window={window} plus data.horizon={horizon}{inside}"
    if windows.least < window:
        needs = f"{windows.least} before the forecast plus data.horizon={horizon}{inside}"
    return (
        f"{series.source}: {whose} is too short: it has {series.sizes[number]:,} rows, {rows:,} of them in the {split} "
        f"split, but one sample needs {windows.least + horizon:,} ({needs}); "
        f"give more rows, or a smaller data.window or data.horizon{remedy}"
    )


# ---------------------------------------------------------------------- defaults


def least_rows(window: int | None, season: int) -> int:
    """Return how many rows of its series a padded window must have: one season, at least 2, at most all."""
    least = max(season, 2)
    return least if window is None else min(window, least)


def longest_given(series: Series) -> int | None:
    """Return the season that the series was given, of several the shortest; None: it is to be inferred."""
    if series.season is None or isinstance(series.season, int):
        return series.season
    return min(series.season)


def given_borders(series: Series, borders: Callable[[int], Sequence[int]]) -> np.ndarray:
    """Return the borders of each series, ``(S, 4)``; the rows of a test file are the test split."""
    if not series.test_rows:
        return np.array([borders(rows) for rows in series.sizes])
    limits = []
    for rows, test in zip(series.sizes, series.test_rows, strict=True):
        own = borders(rows - test)
        if own[3] > own[2] or own[2] < rows - test:
            raise RequestError(
                "data.test_path and data.split: the test split is the file, and all other rows are training and "
                "validation; set data.split={val: ROWS}, such as the last rows of each series for validation"
            )
        limits.append([*own[:3], rows])
    return np.array(limits)


def default_borders(series: Series, horizon: int, least: int, *, pad: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the borders of each series, ``(S, 4)``, and facts about them.

    Shares of 0.7, 0.1 and 0.2. Several series of which some would then lack a sample of some split have their last
    ``horizon`` rows as test and the ``horizon`` before as validation split instead. With a test file, the last eighth
    of the rows before it, at least ``horizon``, are the validation split; with several series the last ``horizon``.
    """
    sizes = np.array(series.sizes)
    if series.test_rows:
        own = sizes - np.array(series.test_rows)
        val = np.full_like(own, horizon) if series.several else np.maximum(own // 8, horizon)
        return np.column_stack((np.zeros_like(own), np.maximum(own - val, 0), own, sizes)), (
            f"validation: the last {val[0]:,} rows{' of each series' if series.several else ''} before the test file",
        )
    shares = np.array([split_borders(rows, SHARES) for rows in series.sizes])
    if not (series.several and pad):
        return shares, ()
    ends = np.array([borders_from_end(rows, horizon, horizon) for rows in series.sizes])
    possible = sampled(ends, horizon, least)[:, 1:].all(axis=1) & (ends[:, 1] >= least)
    if sampled(shares, horizon, least)[possible].all():
        return shares, ()
    return ends, (
        f"split: the last {horizon:,} rows of each series for test and the {horizon:,} before for validation, as some "
        f"series are too short for shares (data.split={{val: {horizon}, test: {horizon}}})",
    )


def sampled(borders: np.ndarray, horizon: int, least: int) -> np.ndarray:
    """Return for each series by its ``borders (S, 4)`` which splits it has a sample in, ``(S, 3)``."""
    return borders[:, 1:] - np.maximum(borders[:, :3], least) >= horizon


def window_for(series: Series, limits: np.ndarray, season: int, horizon: int, *, skip: bool, pad: bool) -> int:
    """Return the default window: ``padded_window`` for several series that may be padded, else ``default_window``."""
    training = limits[:, 1]
    if series.several and pad:
        window = padded_window(season, horizon, int(np.median(training)))
    else:
        window = default_window(season, horizon, int(np.median(training) if skip else training.min()))
    return max(window, horizon if series.known else 1)


def default_window(season: int, horizon: int, training_rows: int) -> int:
    """Return 14 seasons (two weeks of hourly data), at most a fifth of the training rows in full seasons.

    Without a season: four horizons within the same bound. At least one horizon in either case.
    """
    most = max(training_rows // 5, 1)
    if season > 1:
        return max(min(SEASONS, most // season) * season, min(season, most), min(horizon, most))
    return max(min(4 * horizon, most), 1)


def padded_window(season: int, horizon: int, training_rows: int) -> int:
    """Return 14 seasons, or as many as leave two horizons of the ``training_rows`` of the median series; at least one.

    Without a season: four horizons within the same bound. Shorter series are padded.
    """
    most = max(training_rows - 2 * horizon, 2)
    return season * max(1, min(SEASONS, most // season)) if season > 1 else min(4 * horizon, most)
