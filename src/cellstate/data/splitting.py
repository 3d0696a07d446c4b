"""Splitting: shares, and time series cut into windows, chronologically within each series."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from cellstate.data.samples import WindowSamples
from cellstate.data.season import inferred_season
from cellstate.errors import RequestError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Series:
    """One equally spaced series, or several concatenated ones: unscaled ``values (N, C)``."""

    values: np.ndarray
    names: tuple[str, ...]
    season: int | None = 1  # steps per season; 1: none, None: infer it from the training rows
    facts: tuple[str, ...] = ()
    window: int | None = None  # default for this series, if it has one
    horizon: int | None = None
    noise: np.ndarray | None = None  # (N,) the noise drawn for a synthetic series of one column
    noise_std: float | None = None  # and its standard deviation
    source: str = "data"  # its name in errors: its file, if there is one
    ids: tuple[str, ...] = ()  # name of each series, if there are several
    lengths: tuple[int, ...] = ()  # and its rows
    past: tuple[str, ...] = ()  # names of covariates known only in the past,
    known: tuple[str, ...] = ()  # and of those known in advance
    covariates: np.ndarray | None = None  # (N, P + K) their values

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of rows of each series."""
        return self.lengths or (len(self.values),)

    @property
    def firsts(self) -> np.ndarray:
        """The first row of each series, ``(S,)``."""
        return np.cumsum((0, *self.sizes[:-1]))

    def only(self, chosen: Sequence[int]) -> Series:
        """Return the chosen series."""
        rows = spans(self.firsts[list(chosen)], np.array(self.sizes)[list(chosen)])
        return replace(
            self,
            values=self.values[rows],
            ids=tuple(self.ids[number] for number in chosen),
            lengths=tuple(self.sizes[number] for number in chosen),
            covariates=None if self.covariates is None else self.covariates[rows],
        )


@dataclass(frozen=True)
class Windows:
    """The positions of the windows of each split in ``series``."""

    series: Series
    window: int
    horizon: int
    season: int
    borders: np.ndarray  # (S, 4) row of each series at which its splits start, and the last one ends
    facts: tuple[str, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The existing splits: there may be no test split."""
        return SPLITS if (self.borders[:, 3] > self.borders[:, 2]).any() else SPLITS[:2]

    @cached_property
    def _places(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        places = {}
        for at, name in enumerate(self.names):
            rows = [
                np.arange(max(lower, self.window), upper - self.horizon + 1)
                for lower, upper in self.borders[:, at : at + 2]
            ]
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

    @property
    def training(self) -> list[np.ndarray]:
        """The training rows of each series, ``(N_i, C)``."""
        return training_rows(self.series, self.borders)

    def samples(self, split: str, values: np.ndarray, covariates: np.ndarray | None) -> WindowSamples:
        """Return a split of scaled ``values (N, C)``, without any later rows."""
        kept = self.borders[:, 1 + self.names.index(split)]
        rows = slice(0, int(kept[0])) if len(kept) == 1 else spans(self.series.firsts, kept)
        starts = np.cumsum((0, *kept[:-1]))[self.owners(split)] + self.rows(split)
        others = None if covariates is None else torch.from_numpy(covariates[rows])
        return WindowSamples(
            torch.from_numpy(values[rows]), torch.from_numpy(starts), self.window, self.horizon, others
        )

    def without_test(self) -> Windows:
        """Return the same windows, of series truncated at the end of the validation split."""
        kept = self.borders[:, 2]
        rows = spans(self.series.firsts, kept)
        series = replace(
            self.series,
            values=self.series.values[rows],
            noise=None if self.series.noise is None else self.series.noise[rows],
            covariates=None if self.series.covariates is None else self.series.covariates[rows],
            lengths=tuple(kept.tolist()) if self.series.lengths else (),
        )
        return replace(self, series=series, borders=np.column_stack((self.borders[:, :3], kept)))

    def too_short(self) -> list[tuple[int, str]]:
        """Return the index of each series without a sample in some split, and the first such split."""
        found = []
        for number in range(len(self.borders)):
            lacking = [name for name in self.names if not (self.owners(name) == number).any()]
            found += [(number, lacking[0])] if lacking else []
        return found


def cut(
    series: Series,
    *,
    borders: Callable[[int], Sequence[int]],
    window: int | None,
    horizon: int | None,
    short: str,
) -> Windows:
    """Cut series into windows; ``borders`` maps the number of rows of a series to its borders.

    Raises:
        RequestError: a series is too short for a sample in each split (and ``short`` is not ``skip``), or the window
            is shorter than the horizon with covariates known in advance.
    """
    limits = np.array([borders(rows) for rows in series.sizes])
    season, facts = season_of(series, training_rows(series, limits))
    usual = season if series.season is None else series.season  # also if the training rows are fewer
    horizon = horizon or series.horizon or (usual if usual > 1 else 12)
    if window is None:
        rows = int(np.median(limits[:, 1]) if short == "skip" else limits[:, 1].min())
        window = series.window or max(default_window(usual, horizon, rows), horizon if series.known else 1)
    if series.known and window < horizon:
        raise RequestError(
            f"data.window={window} is shorter than data.horizon={horizon}, so windows cannot contain all values "
            f"known in advance ({', '.join(series.known)}); set data.window={horizon} or more"
        )
    windows = Windows(series, window, horizon, season, limits, facts)
    found = windows.too_short()
    if not found:
        return windows
    if not series.ids or short != "skip" or len(found) == len(series.ids):
        raise RequestError(_too_short(windows, *found[0], others=len(found) - 1))
    left_out = {number for number, _ in found}
    kept = [number for number in range(len(series.ids)) if number not in left_out]
    named = ", ".join(series.ids[number] for number in sorted(left_out)[:5]) + (", …" if len(left_out) > 5 else "")
    facts += (f"{len(left_out):,} series ({named}) ignored, too short for a sample in each split",)
    return replace(windows, series=series.only(kept), borders=limits[kept], facts=facts)


def _too_short(windows: Windows, number: int, split: str, others: int) -> str:
    series, window, horizon = windows.series, windows.window, windows.horizon
    rows = np.diff(windows.borders[number])[SPLITS.index(split)]
    whose = f"series {series.ids[number]!r}" if series.ids else "the series"
    inside = "" if split == "train" else f", {horizon} of them in this split"
    remedy = "" if split == "train" else ", or a larger share of this split with data.split"
    if series.ids:
        remedy += ", or ignore such series with data.short=skip"
        remedy += f" ({others:,} more of {len(series.ids):,} are too short)" if others else ""
    return (
        f"{series.source}: {whose} is too short: it has {series.sizes[number]:,} rows, {rows:,} of them in the {split} "
        f"split, but one sample needs {window + horizon:,} (data.window={window} plus data.horizon={horizon}{inside}); "
        f"give more rows, or a smaller data.window or data.horizon{remedy}"
    )


def season_of(series: Series, training: Sequence[np.ndarray]) -> tuple[int, tuple[str, ...]]:
    """Return the season, inferred if none is given, and facts about it."""
    longest = max(map(len, training))
    if series.season is not None:
        if series.season < longest:
            return series.season, ()
        return 1, (f"the training rows are shorter than a season of {series.season} steps: it is ignored",)
    found = inferred_season(training)
    if found is not None:
        return found.steps, (
            f"season {found.steps} inferred from the training rows, whose first differences have an "
            f"autocorrelation of {found.correlation:.2f} at that lag (data.season=1 turns it off)",
        )
    return 1, (
        "no season: neither the time column nor the autocorrelation of the training rows gives one, so there is no "
        "seasonal naive reference (data.season=STEPS sets one)",
    )


def training_rows(series: Series, borders: np.ndarray) -> list[np.ndarray]:
    """Return the training rows of each series, ``(N_i, C)``, by its ``borders (S, 4)``."""
    return [series.values[first : first + stop] for first, stop in zip(series.firsts, borders[:, 1], strict=True)]


def spans(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the indices ``start, start + 1, …`` of all spans, concatenated: ``(sum of lengths,)``."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


def check_shares(shares: Sequence[float], *, validation: bool = True) -> None:
    """Reject shares of training, validation and test that cannot be used (RequestError).

    Args:
        shares: of the three splits.
        validation: whether the second may not be 0.
    """
    if min(shares) < 0 or shares[0] == 0 or (validation and shares[1] == 0) or sum(shares) > 1 + 1e-9:
        above = "the first two" if validation else "the first"
        raise RequestError(
            f"data.split=[{','.join(f'{share:g}' for share in shares)}]: give the shares of training, validation and "
            f"test, {above} above 0, together at most 1, such as [0.8,0.1,0.1]"
        )


def split_borders(rows: int, split: Sequence[float]) -> list[int]:
    """Return the borders of a split given as shares or numbers of rows.

    Raises:
        RequestError: a part is negative, training or validation is empty, or there are too few rows.
    """
    as_shares = all(part <= 1 for part in split)
    if min(split) < 0 or split[0] == 0 or split[1] == 0 or (not as_shares and any(part % 1 for part in split)):
        raise RequestError(
            f"data.split={list(split)}: give training, validation and test, either as shares such as [0.7,0.1,0.2] "
            "or as whole numbers of rows; training and validation must not be empty"
        )
    total = sum(split)
    if as_shares and total > 1 + 1e-9:
        raise RequestError(f"data.split={list(split)}: the shares sum to {total:g}, which is more than 1")
    if not as_shares and total > rows:
        raise RequestError(f"data.split={list(split)}: needs {total:,.0f} rows, but the series has {rows:,}")
    scale = rows if as_shares else 1
    return [0, *(round(part * scale) for part in itertools.accumulate(split))]


def default_window(season: int, horizon: int, training_rows: int) -> int:
    """Return 14 seasons (two weeks of hourly data), at most a fifth of the training rows in full seasons.

    Without a season: four horizons within the same bound. At least one horizon in either case.
    """
    most = max(training_rows // 5, 1)
    if season > 1:
        return max(min(14, most // season) * season, min(season, most), min(horizon, most))
    return max(min(4 * horizon, most), 1)
