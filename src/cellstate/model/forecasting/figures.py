"""Figures of a forecaster: example forecasts, error by step of the horizon, calibration of quantiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cellstate.data.samples import WindowSamples
from cellstate.data.windows import WindowedData
from cellstate.metrics.display import number
from cellstate.metrics.forecast import ForecastScores
from cellstate.metrics.predictors import spoken
from cellstate.metrics.probabilistic import ProbabilisticScores, central_intervals
from cellstate.model.material import Material, Rows
from cellstate.plotting import canvas
from cellstate.plotting.canvas import End
from cellstate.plotting.curves import draw_curve
from cellstate.plotting.examples import PANEL, PANEL_TITLE, examples
from cellstate.plotting.parts import Drawing, Section
from cellstate.plotting.theme import Theme

BASELINES = ("last_value", "seasonal_naive", "ridge_linear")  # in the figures; the table of results has all
HUES = ("seasonal_naive", "last_value")  # index of each in the baseline colours of a theme; others are muted
BANDS = (50, 80, 90)  # per cent, central intervals that are drawn


@dataclass(frozen=True)
class Forecasts:
    """All forecasts of a split, ``(N, horizon, C)`` each, and the series ``(rows, C)``, unscaled."""

    forecasts: np.ndarray
    truth: np.ndarray
    baselines: Mapping[str, np.ndarray]
    values: np.ndarray
    starts: np.ndarray  # (N,) first row of the targets
    signal: np.ndarray | None  # (rows, C) the series without its noise, if known
    noise_std: float
    rows: np.ndarray  # (N,) the same rows, counted from 0 within their series
    names: Sequence[str]  # name of the series of each window, if there are several; else empty
    quantiles: np.ndarray | None = None  # (N, horizon, C, Q) of ``levels``, from a probabilistic head
    levels: Sequence[float] = ()

    @property
    def bands(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Per cent -> lower and upper bound ``(N, horizon, C)`` of that central interval, the widest first."""
        if self.quantiles is None:
            return {}
        places = central_intervals(self.levels, BANDS[::-1])
        return {part: (self.quantiles[..., low], self.quantiles[..., high]) for part, (low, high) in places.items()}

    @property
    def errors(self) -> np.ndarray:
        """``(N,)`` mean absolute error of each window."""
        return np.abs(self.forecasts - self.truth).mean(axis=(1, 2))


def section(material: Material) -> Section:
    """Return three forecasts of the reported split, the error by step, and the calibration of quantiles."""
    found, spec, split = collect(material), material.data.spec, material.split
    target = canvas.name(spec.targets[0])
    columns = f", mean of {len(spec.targets)} columns" if len(spec.targets) > 1 else ""
    optimum = material.reference("mae").get("optimum")
    windows = "windows"
    if found.bands:
        windows += f", with the central {spoken_bands(found)} % intervals of each forecast"
    elif found.signal is not None:
        windows += ", with the signal ± one standard deviation of the noise"
    drawings = [
        Drawing(
            "forecasts",
            f"Three {windows}: the easy, typical and hard window are at the 10th, 50th and 90th percentile of the "
            f"error over all windows of the {split} split.",
            lambda theme: forecast_windows(theme, found, target=target, split=split),
        ),
        Drawing(
            "error_by_step",
            f"The error at each step of the horizon; its mean over all steps is the mae of the table{columns}.",
            lambda theme: error_by_step(theme, found, optimum=optimum, split=split),
        ),
    ]
    if found.quantiles is not None:
        drawings.append(
            Drawing(
                "calibration",
                "Share of observations below each forecast quantile, over all windows, steps and columns. The dashed "
                "line is perfect calibration; a flatter curve indicates an overconfident forecast. As windows "
                "overlap, the shares vary more than those of as many independent values.",
                lambda theme: calibration(theme, found, split=split),
            )
        )
    return Section("Forecasts", drawings)


def tables(material: Material) -> dict[str, Rows]:
    """Return the three windows of the figure step by step, with the bounds of each band."""
    found, targets = collect(material), material.data.spec.targets
    rows = []
    for window, index in examples(found.errors).items():
        for (step, column), truth in np.ndenumerate(found.truth[index]):
            row = {"window": window, "target": targets[column], "row": int(found.rows[index]) + step + 1}
            row |= {"series": found.names[index]} if found.names else {}
            row |= {"step": step + 1, "truth": float(truth), "forecast": float(found.forecasts[index, step, column])}
            for per_cent, ends in found.bands.items():
                for end, values in zip(("lower", "upper"), ends, strict=True):
                    row[f"{end}_{per_cent}"] = float(values[index, step, column])
            for name, values in found.baselines.items():
                row[name] = float(values[index, step, column])
            rows.append(row)
    return {"forecasts": rows}


def spoken_bands(found: Forecasts) -> str:
    """Return the bands in per cent as an enumeration."""
    *others, last = sorted(found.bands)
    return f"{', '.join(map(str, others))} and {last}" if others else str(last)


def collect(material: Material) -> Forecasts:
    """Return the forecasts of the run and of the baselines."""
    scores, data, spec = material.scores, material.data, material.data.spec
    assert isinstance(scores, ForecastScores)
    assert isinstance(data, WindowedData)
    samples = data.prepared.splits[material.split]
    assert isinstance(samples, WindowSamples)
    values = samples.values.cpu().double().numpy() * np.asarray(spec.std) + np.asarray(spec.mean)
    forecasts, truth = scores.joined()
    starts = samples.starts.cpu().numpy()[: len(truth)]  # with several processes, the first part
    rows = data.windows.rows(material.split)[: len(truth)]
    series, known = data.whole_series, data.reference_forecasts(material.split)
    baselines = {name: known[name]()[: len(truth)] for name in BASELINES if name in known}
    signal = None if series.noise is None else (series.values - series.noise[:, None])[: len(values)]
    names = [series.ids[owner] for owner in data.windows.owners(material.split)[: len(truth)]] if series.ids else []
    found = Forecasts(forecasts, truth, baselines, values, starts, signal, series.noise_std or 0.0, rows, names)
    if not isinstance(scores, ProbabilisticScores):
        return found
    return replace(found, quantiles=scores.quantiles(), levels=scores.levels)


def forecast_windows(theme: Theme, found: Forecasts, *, target: str, split: str) -> Figure:
    """Draw history, truth, forecast and the simplest baseline of a few windows, stacked."""
    chosen = examples(found.errors)
    height = (
        2 * canvas.MARGIN + canvas.AXIS + len(chosen) * (PANEL + PANEL_TITLE) + canvas.TITLE + canvas.SUBTITLE - 0.1
    )
    figure = canvas.new_figure(theme, height, f"Forecasts of {target}", f"{split} split, in the units of the data")
    top = height - canvas.MARGIN - canvas.TITLE - canvas.SUBTITLE + 0.1
    for row, (label, index) in enumerate(chosen.items()):
        at, mae = int(found.rows[index]), number(float(found.errors[index]))
        whose = f" of {canvas.name(found.names[index])}" if found.names else ""
        canvas.write_line(figure, top - 0.17, f"{label}: mean absolute error {mae}, from row {at + 1:,}{whose} on")
        axes = canvas.add_axes(figure, top - PANEL_TITLE - PANEL, top - PANEL_TITLE)
        draw_window(theme, axes, found, index)
        if row < len(chosen) - 1:
            axes.tick_params(labelbottom=False)
            axes.set_xlabel("")
        top -= PANEL_TITLE + PANEL
    return canvas.fit(figure)


def draw_window(theme: Theme, axes: Axes, found: Forecasts, index: int) -> None:
    """Draw one window of the first column."""
    start, horizon = int(found.starts[index]), found.truth.shape[1]
    past = min(int(found.rows[index]), max(2 * horizon, 24))
    history, ahead = np.arange(-past + 1, 1), np.arange(1, horizon + 1)
    before, truth = found.values[start - past : start, 0], found.truth[index, :, 0]
    forecast = found.forecasts[index, :, 0]
    naive = "seasonal_naive" if "seasonal_naive" in found.baselines else "last_value"
    simple, hue = found.baselines[naive][index, :, 0], hue_of(theme, naive)
    drawn = [before, truth, forecast, simple]
    ends = []
    for low, high in found.bands.values():
        drawn += [low[index, :, 0], high[index, :, 0]]
        if horizon == 1:  # a band over one step has no width
            axes.plot([1, 1], [low[index, 0, 0], high[index, 0, 0]], color=theme.run, alpha=0.22, lw=9)
        else:
            axes.fill_between(ahead, low[index, :, 0], high[index, :, 0], color=theme.run, alpha=0.22, lw=0)
    if found.signal is not None and found.bands:
        signal = found.signal[start : start + horizon, 0]
        axes.plot(ahead, signal, color=theme.optimum, lw=1.0, marker="." if horizon == 1 else "")
        drawn.append(signal)
        ends.append(End(float(signal[-1]), "optimum", theme.text(theme.optimum)))
    elif found.signal is not None:
        signal = found.signal[start : start + horizon, 0]
        low, high = signal - found.noise_std, signal + found.noise_std
        axes.fill_between(ahead, low, high, color=theme.optimum, alpha=0.22, lw=0)
        drawn += [low, high]
        ends.append(End(float(signal[-1]), "optimum ± σ", theme.text(theme.optimum)))
    axes.axvline(0, color=theme.rule, lw=0.8)
    axes.plot(history, before, color=theme.muted, lw=1.2)
    axes.plot(np.append(0, ahead), np.append(before[-1], truth), color=theme.ink, lw=1.4)
    axes.plot(ahead, simple, color=hue, lw=1.0)
    axes.plot(ahead, forecast, color=theme.run, lw=1.4 if found.bands else 2.0, marker="o" if horizon == 1 else "")
    ends += [
        End(float(truth[-1]), "observed", theme.ink),
        End(float(simple[-1]), spoken(naive), theme.text(hue)),
        End(float(forecast[-1]), "forecast", theme.text(theme.run)),
    ]
    canvas.scale_y(axes, np.concatenate(drawn))
    canvas.whole_ticks(axes, -past + 1, horizon, "steps after the end of the window")
    canvas.label_ends(axes, ends)


def error_by_step(theme: Theme, found: Forecasts, *, optimum: float | None, split: str) -> Figure:
    """Draw the mean absolute error of the run and of the baselines at each step of the horizon."""
    figure = canvas.new_figure(
        theme, 3.5, f"Error by step of the horizon, {split} split", "mean absolute error, in the units of the data"
    )
    axes = canvas.single_axes(figure)
    curves = [
        (spoken(name), by_step(forecast, found.truth), hue_of(theme, name))
        for name, forecast in found.baselines.items()
    ]
    curves.append(("this run", by_step(found.forecasts, found.truth), theme.run))
    values: Sequence[float] = [value for _, curve, _ in curves for value in curve]
    ends = [End(curve[-1], label, theme.text(colour)) for label, curve, colour in curves]
    if found.signal is not None:  # the truth minus the signal is the realised noise
        signal = found.signal[found.starts[:, None] + np.arange(found.truth.shape[1])]
        realised = by_step(signal, found.truth)
        values = [*values, *realised]
        ends.append(End(realised[-1], "optimum realised", theme.text(theme.optimum)))
        axes.plot(range(1, len(realised) + 1), realised, color=theme.optimum, lw=1.0, dashes=(5, 2.5), zorder=3)
    elif optimum is not None:
        values = [*values, optimum]
        ends.append(End(optimum, "optimum", theme.text(theme.optimum)))
        axes.axhline(optimum, color=theme.optimum, lw=1.0, dashes=(5, 2.5))
    canvas.scale_y(axes, values, log_from=4)
    for _, curve, colour in curves:
        draw_curve(axes, (list(range(1, len(curve) + 1)), curve), colour)
    canvas.whole_ticks(axes, 1, len(curves[0][1]), "steps ahead")
    canvas.label_ends(axes, ends)
    return canvas.fit(figure)


def hue_of(theme: Theme, baseline: str) -> str:
    """Return the hue of a baseline."""
    return theme.baselines[HUES.index(baseline)] if baseline in HUES else theme.muted


def calibration(theme: Theme, found: Forecasts, *, split: str) -> Figure:
    """Draw the share of the truth below each quantile against its level."""
    figure = canvas.new_figure(
        theme, 3.5, f"Calibration of the quantiles, {split} split", "observations below the quantile, per cent"
    )
    axes = canvas.single_axes(figure)
    levels, shares = [100 * level for level in found.levels], [100 * share for share in shares_below(found)]
    canvas.scale_y(axes, [0, 100])
    axes.plot([0, 100], [0, 100], color=theme.optimum, lw=1.0, dashes=(5, 2.5))
    axes.plot(levels, shares, color=theme.run, marker="o", ms=4, clip_on=False)
    canvas.whole_ticks(axes, 0, 100, "level of the quantile, per cent")
    canvas.label_ends(
        axes,
        [End(100, "calibrated", theme.text(theme.optimum)), End(shares[-1], "this run", theme.text(theme.run))],
    )
    return canvas.fit(figure)


def shares_below(found: Forecasts) -> list[float]:
    """Return the share of the truth at or below each quantile, ``(Q,)``, over windows, steps and columns."""
    assert found.quantiles is not None
    return (found.truth[..., None] <= found.quantiles).mean(axis=(0, 1, 2)).tolist()


def by_step(forecasts: np.ndarray, truth: np.ndarray) -> list[float]:
    """Return the mean absolute error of each step, ``(horizon,)``, over windows and columns."""
    return np.abs(forecasts - truth).mean(axis=(0, 2)).tolist()
