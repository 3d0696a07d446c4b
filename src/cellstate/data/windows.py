"""Forecasting data: windows of a series, split in order of time, beside what simple forecasts reach on it."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from typing_extensions import override

from cellstate.annotations import PositiveInt
from cellstate.data.baselines import last_value, ridge_linear, seasonal_naive
from cellstate.data.batch import DataSpec
from cellstate.data.datamodule import Prepared, Scores, SequenceData
from cellstate.data.samples import WindowSamples
from cellstate.data.synthetic.floor import expected_floor, realised_floor
from cellstate.errors import RequestError
from cellstate.metrics.forecast import forecast_scores, naive_error

SPLITS = ("train", "val", "test")
Split = Annotated[Sequence[float], Field(min_length=3, max_length=3)]


@dataclass(frozen=True)
class Series:
    """A regular series, ``values (N, C)`` in its own units."""

    values: np.ndarray
    names: tuple[str, ...]
    season: int = 1  # steps a season; 1 where there is none
    facts: tuple[str, ...] = ()
    window: int | None = None  # what suits this series, where it says so
    horizon: int | None = None
    noise: np.ndarray | None = None  # (N,) the noise in a synthetic series of one column, as drawn
    noise_std: float | None = None  # and its standard deviation
    source: str = "data"  # what to call it in an error: its file, if there is one


class WindowedData(SequenceData):
    """Windows of one series and the ``horizon`` steps that follow each.

    The split is in order of time. A window belongs to the split in which all its *targets* lie, so that the first
    inputs of validation and test reach back into the rows before them, as in use. The scaler is fitted on the
    training rows alone.

    Args:
        window: steps that the forecaster sees; None takes 14 seasons, fewer where the series is short.
        horizon: steps to forecast.
        split: rows of training, validation and test, as shares (together at most 1) or as numbers of rows.
    """

    def __init__(
        self,
        *,
        window: PositiveInt | None = None,
        horizon: PositiveInt | None = None,
        split: Split | None = None,
        batch_size: PositiveInt = 64,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed)
        self.window, self.horizon, self.split = window, horizon, split

    @abstractmethod
    def series(self) -> Series:
        """Read or generate the series."""

    def borders(self, rows: int) -> list[int]:
        """Return where each split begins and the last one ends, ``[0, train, train + val, train + val + test]``."""
        return split_borders(rows, (0.7, 0.1, 0.2) if self.split is None else self.split)

    @override
    def prepare(self) -> Prepared:
        series = self.series()
        rows = len(series.values)
        borders = self.borders(rows)
        horizon = self.horizon or series.horizon or (series.season if series.season > 1 else 12)
        window = self.window or series.window or default_window(series.season, horizon, borders[1])
        starts = {
            name: np.arange(max(lower, window), upper - horizon + 1)
            for name, (lower, upper) in zip(SPLITS, itertools.pairwise(borders), strict=True)
            if upper > lower or name != "test"
        }
        check_long_enough(rows, window, horizon, borders, starts, source=series.source)

        training = series.values[: borders[1]]
        season = series.season if series.season < len(training) else 1
        std = training.std(axis=0)
        spread = np.ptp(training, axis=0)  # not std, which rounding leaves above 0 where all values are 0.1
        constant = [name for name, width in zip(series.names, spread, strict=True) if not width > 0]
        if constant:
            raise RequestError(
                f"{series.source}: column {constant[0]!r} has one and the same value in all training rows; "
                "there is nothing to forecast: choose another data.target"
            )
        spec = DataSpec(
            input_size=len(series.names),
            targets=series.names,
            window=window,
            horizon=horizon,
            season=season,
            mean=tuple(training.mean(axis=0).tolist()),
            std=tuple(std.tolist()),
            naive_error=naive_error(training, season),
        )
        # Scaled in double precision: a series far from zero would lose its detail in single precision.
        values = torch.from_numpy(((series.values - training.mean(axis=0)) / std).astype(np.float32))
        splits = {
            name: WindowSamples(values[:border], torch.from_numpy(starts[name]), window, horizon)
            for name, border in zip(SPLITS, borders[1:], strict=True)
            if name in starts
        }
        counted = ", ".join(f"{len(samples):,} {name}" for name, samples in splits.items())
        cycle = f", season {season}" if season > 1 else ""
        facts = (*series.facts, f"windows of {window} steps, horizon {horizon}{cycle}: {counted}")
        if season < series.season:
            facts += (f"the training rows do not hold a season of {series.season} steps: it is left out of account",)
        if rows > borders[3]:
            facts += (f"the last {rows - borders[3]:,} of {rows:,} rows are in no split",)
        self._whole, self._starts = series, starts
        return Prepared(spec, splits, facts)

    @property
    def whole_series(self) -> Series:
        """The series that all windows are cut from, in its own units."""
        _ = self.prepared
        return self._whole

    def optimum(self) -> Scores:
        """The expected score of a forecaster that knows the signal, where the noise of the series is known."""
        noise_std = self.whole_series.noise_std
        return {} if noise_std is None else self._with_scaled(expected_floor(noise_std))

    def optimum_realised(self) -> Scores:
        """The score of that forecaster on the noise that was drawn in the windows of the reported split."""
        noise = self.whole_series.noise
        if noise is None:
            return {}
        return self._with_scaled(realised_floor(noise, self._starts[self.reported_split], self.spec.horizon))

    def _with_scaled(self, floor: Scores) -> Scores:
        (std,) = self.spec.std
        return {**floor, "mae_scaled": floor["mae"] / std, "mse_scaled": floor["mse"] / std**2}

    def references(self) -> dict[str, Scores]:
        """Last value, seasonal naive (with and without drift) and ridge regression on the same windows."""
        spec = self.spec
        values, starts = self.whole_series.values, self._starts
        reported = starts[self.reported_split]
        training = values[: starts["train"][-1] + spec.horizon]
        forecasts = {"last_value": last_value(values, reported, spec.horizon)}
        if spec.season > 1:
            forecasts["seasonal_naive"] = seasonal_naive(values, reported, spec.horizon, spec.season)
            drift = (training[spec.season :] - training[: -spec.season]).mean(axis=0)
            forecasts["seasonal_naive_drift"] = seasonal_naive(values, reported, spec.horizon, spec.season, drift)
        forecasts["ridge_linear"] = ridge_linear(values, starts, reported, spec.window, spec.horizon)
        truth = values[reported[:, None] + np.arange(spec.horizon)]
        scores = {name: forecast_scores(forecast, truth, spec=spec) for name, forecast in forecasts.items()}
        return {metric: {name: score[metric] for name, score in scores.items()} for metric in scores["last_value"]}


def split_borders(rows: int, split: Sequence[float]) -> list[int]:
    """Return the borders of a split given as shares or as numbers of rows.

    Raises:
        RequestError: a part is negative, training or validation is empty, or there are not so many rows.
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
        raise RequestError(f"data.split={list(split)}: {total:,.0f} rows are asked for, the series has {rows:,}")
    scale = rows if as_shares else 1
    return [0, *(round(part * scale) for part in itertools.accumulate(split))]


def default_window(season: int, horizon: int, training_rows: int) -> int:
    """Return 14 seasons (two weeks of days of hours), in whole seasons at most a fifth of the training rows.

    Without a season: four horizons within the same bound. At least one horizon in either case.
    """
    most = max(training_rows // 5, 1)
    if season > 1:
        return max(min(14, most // season) * season, min(season, most), min(horizon, most))
    return max(min(4 * horizon, most), 1)


def check_long_enough(
    rows: int,
    window: int,
    horizon: int,
    borders: Sequence[int],
    starts: Mapping[str, np.ndarray],
    source: str = "data",
) -> None:
    """Refuse a series in which a split has no room for a single window.

    Raises:
        RequestError: says how many rows there are and how many it takes.
    """
    sizes: dict[str, int] = dict(zip(SPLITS, (b - a for a, b in itertools.pairwise(borders)), strict=True))
    for name, positions in starts.items():
        if len(positions) == 0:
            need = window + horizon if name == "train" else horizon
            raise RequestError(
                f"{source}: the series is too short: it has {rows:,} rows, the {name} split {sizes[name]:,} of them, "
                f"and one sample takes {need:,} (data.window={window} plus data.horizon={horizon}"
                + ("" if name == "train" else f", of which {horizon} in this split")
                + "); give more rows, or a smaller data.window or data.horizon"
            )
