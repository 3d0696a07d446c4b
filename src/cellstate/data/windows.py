"""Forecasting data: windows of chronologically split series, with the scores of simple forecasts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from cellstate.config.types import PositiveInt
from cellstate.data.baselines import last_value, ridge_linear, seasonal_drift, seasonal_naive
from cellstate.data.batch import DataSpec
from cellstate.data.datamodule import Prepared, Scores, SequenceData
from cellstate.data.splitting import Series, Windows, cut, spans, split_borders
from cellstate.data.synthetic.floor import expected_floor, realised_floor
from cellstate.errors import RequestError
from cellstate.metrics.forecast import forecast_scores
from cellstate.runs.memory import refuse_beyond_memory

Split = Annotated[Sequence[float], Field(min_length=3, max_length=3)]
DRIFTING = 2.0  # standard errors from 0 at which series count as drifting


class WindowedData(SequenceData):
    """Windows of one or several series, each with the ``horizon`` steps that follow.

    Each series is split chronologically. A window belongs to the split that contains all its *targets*, so the first
    inputs of validation and test come from the rows before, as in deployment. No window spans two series.

    All scalers are fitted on the training rows. Each target has one for all series: its mean over all of them, and its
    deviation within them, the root of the mean of (y - mean of its series)^2; for one series that is the z-score. Thus
    levels that differ between series do not dominate the variation within them; per-instance normalisation
    (``model.normalisation``) removes the level of each window; and series not seen in training are forecast like the
    others. All series share one unit, so those with larger variation weigh more in the loss, mae and mse. Covariates
    are scaled by their z-score over all training rows.

    Covariates follow the targets in every step of the inputs, ``(B, window, C + P + K)``: those known in the past
    unchanged, those known in advance shifted by ``horizon``, so that step t of a window has their value at
    t + horizon, and its last ``horizon`` steps cover the forecast period.

    Args:
        window: input steps; None uses 14 seasons, fewer if the series is short.
        horizon: steps to forecast.
        split: training, validation and test, as shares (together at most 1) or numbers of rows.
        short: treatment of series without a sample in each split: ``error`` raises an error that names one, ``skip``
            ignores them.
    """

    def __init__(
        self,
        *,
        window: PositiveInt | None = None,
        horizon: PositiveInt | None = None,
        split: Split | None = None,
        short: Literal["error", "skip"] = "error",
        batch_size: PositiveInt = 64,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed)
        self.window, self.horizon, self.split, self.short = window, horizon, split, short

    @abstractmethod
    def series(self) -> Series:
        """Read or generate the series."""

    def borders(self, rows: int) -> list[int]:
        """Return the borders of the splits, ``[0, train, train + val, train + val + test]``."""
        return split_borders(rows, (0.7, 0.1, 0.2) if self.split is None else self.split)

    @override
    def prepare(self) -> Prepared:
        windows = self._cut(self.series())
        series, training, fitted = windows.series, windows.training, self.fitted
        steps = windows.window + windows.horizon
        refuse_beyond_memory(
            4 * min(self.batch_size, len(series.values)) * steps * len(series.names),
            f"a batch of data.batch_size={self.batch_size} windows of {steps:,} steps",
            "set a smaller data.batch_size, data.window or data.horizon",
        )
        if fitted is None:
            check_constant(series, training)
            mean, std = np.concatenate(training).mean(axis=0), within_deviation(training)
        else:
            mean, std = np.asarray(fitted.mean), np.asarray(fitted.std)
        # Scaled in double precision: a series far from zero would lose detail in single precision.
        values = ((series.values - mean) / std).astype(np.float32)
        covariates, centre, spread, notes = scaled_covariates(windows, fitted)
        spec = DataSpec(
            input_size=len(series.names) + len(centre),
            input_mean=(*mean.tolist(), *centre) if centre else (),
            input_std=(*std.tolist(), *spread) if centre else (),
            targets=series.names,
            past=series.past,
            known=series.known,
            window=windows.window,
            horizon=windows.horizon,
            season=windows.season,
            mean=tuple(mean.tolist()),
            std=tuple(std.tolist()),
            naive_error=naive_error_within(training, windows.season) if fitted is None else fitted.naive_error,
        )
        splits = {name: windows.samples(name, values, covariates) for name in windows.names}
        counted = ", ".join(f"{len(samples):,} {name}" for name, samples in splits.items())
        cycle = f", season {spec.season}" if spec.season > 1 else ""
        facts = (*series.facts, f"windows of {spec.window} steps, horizon {spec.horizon}{cycle}: {counted}")
        unused = len(series.values) - int(windows.borders[:, 3].sum())
        if unused:
            last = "the last rows of each series" if series.ids else f"the last {unused:,}"
            facts += (f"{last} of {len(series.values):,} rows are not in any split",)
        self._windows = windows
        return Prepared(spec, splits, (*facts, *windows.facts, *notes))

    def _cut(self, series: Series) -> Windows:
        """Cut series into windows; for a model trained on other data with its window, horizon and season."""
        fitted = self.fitted
        if fitted is None:
            return cut(series, borders=self.borders, window=self.window, horizon=self.horizon, short=self.short)
        for what, found, wanted in (
            ("targets", series.names, fitted.targets),
            ("columns known in the past", series.past, fitted.past),
            ("columns known in advance", series.known, fitted.known),
        ):
            if found != wanted:
                raise RequestError(
                    f"{series.source}: {what}: {', '.join(found) or 'none'}, but the model has "
                    f"{', '.join(wanted) or 'none'}"
                )
        series = replace(series, season=fitted.season)
        return cut(series, borders=self.borders, window=fitted.window, horizon=fitted.horizon, short=self.short)

    @override
    def split_rule(self) -> dict[str, Any]:
        windows = self.windows
        rows = {"rows": windows.borders.tolist(), "order": "time"}  # borders per series
        return {**rows, "series": list(windows.series.ids)} if windows.series.ids else rows

    @override
    def forget_test(self) -> None:
        self._windows = self._windows.without_test()

    @property
    def windows(self) -> Windows:
        """The positions of the windows of each split."""
        _ = self.prepared
        return self._windows

    @property
    def whole_series(self) -> Series:
        """The unscaled series that all windows are cut from."""
        return self.windows.series

    def optimum(self) -> Scores:
        """The expected score of a forecaster that knows the signal, if the noise level is known."""
        noise_std = self.whole_series.noise_std
        return {} if noise_std is None else self.with_scaled(expected_floor(noise_std))

    def optimum_realised(self) -> Scores:
        """The score of that forecaster for the noise drawn in the windows of the reported split."""
        noise = self.whole_series.noise
        if noise is None:
            return {}
        return self.with_scaled(realised_floor(noise, self.windows.starts(self.reported_split), self.spec.horizon))

    def references(self) -> dict[str, Scores]:
        """Last value, seasonal naive and ridge regression on the same windows, without covariates.

        Seasonal naive is included if there is a season, also with drift if the training rows drift: if the root mean
        square over series and columns of the drift in standard errors (``seasonal_drift``) is above 2.
        """
        spec, windows, split = self.spec, self.windows, self.reported_split
        values, reported = self.whole_series.values, windows.starts(split)
        forecasts = {"last_value": last_value(values, reported, spec.horizon)}
        if spec.season > 1:
            firsts = reported - windows.rows(split)
            naive = seasonal_naive(values, reported, spec.horizon, spec.season, first=firsts)
            forecasts["seasonal_naive"] = naive
            found = [seasonal_drift(training, spec.season) for training in windows.training]
            drift, deviations = (np.stack(part) for part in zip(*found, strict=True))  # (S, C)
            if np.sqrt(np.mean(deviations**2)) > DRIFTING:
                own = drift[windows.owners(split)]
                drifting = seasonal_naive(values, reported, spec.horizon, spec.season, own, first=firsts)
                forecasts["seasonal_naive_drift"] = drifting
        starts = {name: windows.starts(name) for name in windows.names}
        scale = spec.std if len(self.whole_series.ids) > 1 else None
        forecasts["ridge_linear"] = ridge_linear(values, starts, reported, spec.window, spec.horizon, scale)
        truth = values[reported[:, None] + np.arange(spec.horizon)]
        scores = {name: forecast_scores(forecast, truth, spec=spec) for name, forecast in forecasts.items()}
        return {metric: {name: score[metric] for name, score in scores.items()} for metric in scores["last_value"]}


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


def scaled_covariates(
    windows: Windows, fitted: DataSpec | None = None
) -> tuple[np.ndarray | None, tuple[float, ...], tuple[float, ...], tuple[str, ...]]:
    """Return scaled covariates for the windows ``(N, P + K)``, their mean and standard deviation, and notes.

    Covariates known in advance are shifted up by ``horizon`` rows within their series; the last rows, which no window
    reaches, repeat the last value. Constant ones are only centred. With ``fitted`` its scaler is used.
    """
    series = windows.series
    if series.covariates is None:
        return None, (), (), ()
    training = series.covariates[spans(series.firsts, windows.borders[:, 1])]
    constant = ~(np.ptp(training, axis=0) > 0)
    mean, std = training.mean(axis=0), np.where(constant, 1.0, training.std(axis=0))
    if fitted is not None:
        mean, std = (np.asarray(part)[len(series.names) :] for part in (fitted.input_mean, fitted.input_std))
    last = np.repeat(series.firsts + series.sizes - 1, series.sizes)
    rows = np.minimum(np.arange(len(last)) + windows.horizon, last)
    past = len(series.past)
    shown = np.hstack([series.covariates[:, :past], series.covariates[rows, past:]])
    names = [name for name, still in zip((*series.past, *series.known), constant, strict=True) if still]
    notes = (f"{', '.join(names)}: constant over all training rows, thus uninformative",) if names else ()
    scaled = ((shown - mean) / std).astype(np.float32)
    return scaled, tuple(mean.tolist()), tuple(std.tolist()), notes
