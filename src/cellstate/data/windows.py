"""Forecasting data: windows of chronologically split series, with the scores of simple forecasts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from typing_extensions import override

from cellstate.config.types import PositiveInt
from cellstate.data.batch import DataSpec
from cellstate.data.classical import require_statsforecast
from cellstate.data.cutting import Short, Windows, cut, some
from cellstate.data.datamodule import Prepared, Scores, SequenceData
from cellstate.data.levels import check_constant, levels_of, naive_error_within
from cellstate.data.panel import PanelScores
from cellstate.data.references import References
from cellstate.data.splitting import Series, Split, check_counts, spans, split_of
from cellstate.data.static import coded, scaler, static_fields, unseen
from cellstate.data.synthetic.floor import expected_floor, realised_floor
from cellstate.errors import RequestError
from cellstate.metrics.forecast import forecast_scores
from cellstate.runs.memory import refuse_beyond_memory

SMALL_BATCH, LARGE_BATCH = 64, 256  # windows per batch that ``batch_size=None`` chooses from
MANY_BATCHES = 20  # large ones that the training split must contain


class WindowedData(SequenceData):
    """Windows of one or several series, each with the ``horizon`` steps that follow.

    Each series is split chronologically. A window belongs to the split that contains all its *targets*, so the first
    inputs of validation and test come from the rows before, as in deployment. No window spans two series. With padding,
    a window may begin before its series: such steps are NaN in all features, targets to forecast never are. At least
    one season (at least two steps) of a window is real.

    All scalers are fitted on the training rows. Each target has one for all series: its mean over all of them, and its
    deviation within them, the root of the mean of (y - mean of its series)^2; for one series that is the z-score. Thus
    levels that differ between series do not dominate the variation within them; per-instance normalisation
    (``model.normalisation``) removes the level of each window; and series not seen in training are forecast like the
    others. If levels or spreads differ (``data.levels.levels_differ``), values are only divided by that deviation, so
    that single precision keeps the detail of small series. All series share one unit, so those with larger variation
    weigh more in the loss, mae and mse. Covariates are scaled by their z-score over all training rows.

    Covariates follow the targets in every step of the inputs, ``(B, window, C + P + K)``: those known in the past
    unchanged, those known in advance shifted by ``horizon``, so that step t of a window has their value at
    t + horizon, and its last ``horizon`` steps cover the forecast period.

    Scores of several series are means over series: see ``panel_scores``.

    Args:
        window: input steps; None uses 14 seasons, fewer if the series is short.
        horizon: steps to forecast.
        split: training, validation and test, as shares (together at most 1) or numbers of rows; or the last rows of
            each series, ``{"val": 48, "test": 48}``, all before being the training split. None uses 0.7, 0.1 and 0.2,
            or the last ``horizon`` rows of each of several series that are too short for that.
        short: treatment of series that are shorter than a window: ``pad`` pads their windows, ``error`` raises an error
            that names one. Series too short for a sample in each split even so raise an error with ``pad``; ``skip``
            pads and ignores them, with a line that names them. None is ``skip`` for several series, ``error`` for one.
        classical: add the references AutoTheta and AutoETS of statsforecast, which must be installed.
    """

    gives = "horizon"

    def __init__(
        self,
        *,
        window: PositiveInt | None = None,
        horizon: PositiveInt | None = None,
        split: Split | None = None,
        short: Short | None = None,
        classical: bool = False,
        batch_size: PositiveInt | None = 64,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size or SMALL_BATCH, seed=seed)
        self._choose_batch_size = batch_size is None
        self.window, self.horizon, self.split = window, horizon, split
        self.short: Short | None = short
        self.classical = classical

    @abstractmethod
    def series(self) -> Series:
        """Read or generate the series."""

    @property
    def borders(self) -> Callable[[int], list[int]] | None:
        """Number of rows -> borders of the splits, ``[0, train, train + val, train + val + test]``; None: the default.

        Subclasses that know the usual split of their data override it.
        """
        split = self.split
        return None if split is None else lambda rows: split_of(rows, split)

    @override
    def prepare(self) -> Prepared:
        if self.classical:
            require_statsforecast()
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
        spec, covariates, notes = specified(windows, fitted)
        # Scaled in double precision: a series far from zero would lose detail in single precision.
        values = ((series.values - np.asarray(spec.mean)) / np.asarray(spec.std)).astype(np.float32)
        splits = {name: windows.samples(name, values, covariates) for name in windows.names}
        if self._choose_batch_size and spec.levels_differ and len(splits["train"]) >= MANY_BATCHES * LARGE_BATCH:
            self.batch_size = LARGE_BATCH
        self._use(windows, spec)
        return Prepared(spec, splits, (*series.facts, *self._counted(), *windows.facts, *notes))

    def _use(self, windows: Windows, spec: DataSpec) -> None:
        self._windows, self._references = windows, References(windows, spec, classical=self.classical)
        self._panel = PanelScores(windows, self._references)

    def _counted(self) -> tuple[str, ...]:
        """Return facts on the windows of each split, and rows and series left out of something."""
        windows = self._windows
        series = windows.series
        counted = ", ".join(f"{len(windows.rows(name)):,} {name}" for name in windows.names)
        seasons = " and ".join(map(str, windows.seasons))
        cycle = f", season{'s' if len(windows.seasons) > 1 else ''} {seasons}" if seasons else ""
        facts = [f"windows of {windows.window} steps, horizon {windows.horizon}{cycle}: {counted}"]
        if some_padded := sum(int((windows.rows(name) < windows.window).sum()) for name in windows.names):
            facts.append(f"{some_padded:,} of these begin before their series: those steps are padded and masked")
        unused = len(series.values) - int(windows.borders[:, 3].sum())
        if unused:
            last = "the last rows of each series" if series.ids else f"the last {unused:,}"
            facts.append(f"{last} of {len(series.values):,} rows are not in any split")
        if series.several:
            still = ~np.any(self._panel.scales(windows.names[-1]) > 0, axis=1)
            names = some(name for name, left_out in zip(series.ids, still, strict=True) if left_out)
            if names:
                change = "changes" if still.sum() == 1 else "change"
                facts.append(f"{still.sum():,} series ({names}) never {change} from season to season: left out of mase")
        return tuple(facts)

    def _cut(self, series: Series) -> Windows:
        """Cut series into windows; for a model trained on other data with its window, horizon and season."""
        fitted = self.fitted
        own = np.array(series.sizes) - np.array(series.test_rows or 0)
        check_counts(self.split, int(own.max()))
        # By default several series are padded, and those left out that are too short even so.
        short = self.short or ("skip" if series.several else "error")
        pad = short == "pad" or (short == "skip" and series.several)
        if fitted is None:
            window, horizon = self.window, self.horizon
            return cut(series, borders=self.borders, window=window, horizon=horizon, short=short, pad=pad)
        for what, found, wanted in (
            ("targets", series.names, fitted.targets),
            ("columns known in the past", series.past, fitted.past),
            ("columns known in advance", series.known, fitted.known),
            ("static features", series.static, fitted.static),
        ):
            if found != wanted:
                raise RequestError(
                    f"{series.source}: {what}: {', '.join(found) or 'none'}, but the model has "
                    f"{', '.join(wanted) or 'none'}"
                )
        series, pad = replace(series, season=fitted.seasons or (fitted.season,)), pad and fitted.padded
        window, horizon = fitted.window, fitted.horizon
        return cut(series, borders=self.borders, window=window, horizon=horizon, short=short, pad=pad)

    @override
    def split_rule(self) -> dict[str, Any]:
        windows = self.windows
        rows = {"rows": windows.borders.tolist(), "order": "time"}  # borders per series
        return {**rows, "series": list(windows.series.ids)} if windows.series.ids else rows

    @override
    def forget_test(self) -> None:
        self._use(self._windows.without_test(), self.spec)

    @property
    def windows(self) -> Windows:
        """The positions of the windows of each split."""
        _ = self.prepared
        return self._windows

    @property
    def whole_series(self) -> Series:
        """The unscaled series that all windows are cut from."""
        return self.windows.series

    # ------------------------------------------------------------------ scores and references

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

    @override
    def panel_scores(self, split: str, scores: Any, chosen: np.ndarray | None = None) -> Scores:
        """Return what the M4 competition reports: smape and mase as means over series, and owa.

        ``mase`` is in units of each series' own scale q = mean |y_t - y_(t - season)| over its rows before the split;
        for one series it is left as it is, in units of the training rows. ``owa`` is the mean of smape and mase
        relative to those of Naive2 on the same windows. ``mase_pooled`` is the mean over all windows, in units of one
        scale for all series.

        Args:
            split: whose windows were forecast, in their order; fewer count as the first ones.
            scores: with ``joined()``, the forecasts and the truth, ``(M, horizon, C)``, unscaled.
            chosen: ``(M,)`` the indices of the windows, if they are others.
        """
        _ = self.prepared
        if self.repeats_batch:  # these are no windows of the split
            return {}
        forecasts, truth = scores.joined()
        return self._panel.scored(split, forecasts, truth, chosen)

    def references(self) -> dict[str, Scores]:
        """Naive2, last value, seasonal naive, drift and ridge regression on the same windows; see ``References``."""
        split, windows = self.reported_split, self.windows
        truth = windows.series.values[windows.starts(split)[:, None] + np.arange(self.spec.horizon)]
        table: dict[str, Scores] = {}
        for name, forecast in self.reference_forecasts(split).items():
            forecasts = forecast()
            scores = forecast_scores(forecasts, truth, spec=self.spec) | self._panel.scored(split, forecasts, truth)
            for metric, value in scores.items():
                table.setdefault(metric, {})[name] = value
        return table

    def reference_forecasts(self, split: str) -> dict[str, Callable[[], np.ndarray]]:
        """Return name -> forecast of the windows of a split, unscaled, each computed when it is called."""
        _ = self.prepared
        return self._references.of(split)


def specified(windows: Windows, fitted: DataSpec | None) -> tuple[DataSpec, np.ndarray | None, tuple[str, ...]]:
    """Return the specification, the scaled covariates, and notes; with ``fitted`` its scaler and facts are used."""
    series, training = windows.series, windows.training
    covariates, centre, spread, notes = scaled_covariates(windows, fitted)
    spec = DataSpec(
        targets=series.names,
        past=series.past,
        known=series.known,
        window=windows.window,
        horizon=windows.horizon,
        season=windows.season,
    )
    if fitted is not None:
        same = ("static", "categories", "ids", "seasons", "padded", "mean", "std", "naive_error")
        same += ("levels_differ", "log_mean", "log_std", "log_suits", "box_cox", "box_cox_mean", "box_cox_std")
        spec = replace(spec, **{name: getattr(fitted, name) for name in same})
    else:
        levels = levels_of([rows for rows in training if len(rows)], windows.season)
        spec = replace(
            spec,
            seasons=windows.seasons,
            padded=windows.padded,
            mean=tuple(levels.mean.tolist()),
            std=tuple(levels.std.tolist()),
            naive_error=naive_error_within(training, windows.season),
            levels_differ=levels.levels_differ,
            log_mean=levels.log_mean,
            log_std=levels.log_std,
            log_suits=levels.log_suits,
            box_cox=levels.box_cox.exponent,
            box_cox_mean=levels.box_cox.mean,
            box_cox_std=levels.box_cox.std,
            **static_fields(series),
        )
    if spec.static or spec.ids:
        features, more_centre, more_spread, more_notes = scaled_static(series, spec, fitted)
        covariates = features if covariates is None else np.hstack([covariates, features])
        centre, spread, notes = (*centre, *more_centre), (*spread, *more_spread), (*notes, *more_notes)
    if centre:
        spec = replace(spec, input_mean=(*spec.mean, *centre), input_std=(*spec.std, *spread))
    return replace(spec, input_size=len(series.names) + len(centre)), covariates, notes


def scaled_static(
    series: Series, spec: DataSpec, fitted: DataSpec | None
) -> tuple[np.ndarray, tuple[float, ...], tuple[float, ...], tuple[str, ...]]:
    """Return the static features of each row ``(N, n)``, their mean and standard deviation, and notes."""
    values = series.static_values or ((),) * len(series.sizes)
    ids = series.ids or ("",)
    features = coded(spec, values, ids)
    mean, std = scaler(spec, features)
    if fitted is not None:
        mean, std = (np.asarray(part)[-features.shape[1] :] for part in (fitted.input_mean, fitted.input_std))
    scaled = np.repeat(((features - mean) / std).astype(np.float32), series.sizes, axis=0)
    return scaled, tuple(mean.tolist()), tuple(std.tolist()), tuple(unseen(spec, values, ids))


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
        ours = slice(len(series.names), len(series.names) + len(mean))
        mean, std = (np.asarray(part)[ours] for part in (fitted.input_mean, fitted.input_std))
    last = np.repeat(series.firsts + series.sizes - 1, series.sizes)
    rows = np.minimum(np.arange(len(last)) + windows.horizon, last)
    past = len(series.past)
    shown = np.hstack([series.covariates[:, :past], series.covariates[rows, past:]])
    names = [name for name, still in zip((*series.past, *series.known), constant, strict=True) if still]
    notes = (f"{', '.join(names)}: constant over all training rows, thus uninformative",) if names else ()
    scaled = ((shown - mean) / std).astype(np.float32)
    return scaled, tuple(mean.tolist()), tuple(std.tolist()), notes
