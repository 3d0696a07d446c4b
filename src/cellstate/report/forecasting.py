"""What a forecaster shows: forecasts over history, and how the error grows with the horizon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cellstate.data.baselines import last_value, seasonal_naive
from cellstate.data.samples import WindowSamples
from cellstate.data.windows import WindowedData
from cellstate.metrics.forecast import ForecastScores
from cellstate.report import canvas
from cellstate.report.canvas import End
from cellstate.report.learning import draw_curve
from cellstate.report.material import Drawing, Material, Section, spoken
from cellstate.report.summary import number
from cellstate.report.theme import Theme

# Windows by the rank of their error among all of the split: neither the best nor the worst is chosen by hand.
EXAMPLES = {"easy": 0.1, "typical": 0.5, "hard": 0.9}
HUES = ("seasonal_naive", "last_value")  # which of a theme's baselines each is
PANEL, PANEL_TITLE = 1.3, 0.46  # inches


@dataclass(frozen=True)
class Forecasts:
    """All forecasts of a split, ``(N, horizon, C)`` each, and the series ``(rows, C)``, in the data's own units."""

    forecasts: np.ndarray
    truth: np.ndarray
    baselines: Mapping[str, np.ndarray]
    values: np.ndarray
    starts: np.ndarray  # (N,) the rows at which the targets begin
    signal: np.ndarray | None  # (rows, C) the series without its noise, where that is known
    noise_std: float

    @property
    def errors(self) -> np.ndarray:
        """``(N,)`` mean absolute error of each window."""
        return np.abs(self.forecasts - self.truth).mean(axis=(1, 2))


def section(material: Material) -> Section:
    """Return three forecasts of the reported split, and the error of each step of the horizon."""
    found, spec, split = collect(material), material.data.spec, material.split
    target = canvas.name(spec.targets[0])
    columns = f", mean of {len(spec.targets)} columns" if len(spec.targets) > 1 else ""
    optimum = material.reference("mae").get("optimum")
    windows = "windows" if found.signal is None else "windows, with the signal ± one standard deviation of the noise"
    return Section(
        "What it forecasts",
        [
            Drawing(
                "forecasts",
                f"Three {windows}: of all windows of the {split} split, one in ten has a smaller error than the easy "
                "one, half have a smaller one than the typical, and one in ten has a larger one than the hard.",
                lambda theme: forecast_windows(theme, found, target=target, split=split),
            ),
            Drawing(
                "error_by_step",
                f"Each step of the horizon by itself; the mean over all steps is the mae of the table{columns}.",
                lambda theme: error_by_step(theme, found, optimum=optimum, split=split),
            ),
        ],
    )


def collect(material: Material) -> Forecasts:
    """Return the forecasts of the run and of the baselines."""
    scores, data, spec = material.scores, material.data, material.data.spec
    assert isinstance(scores, ForecastScores)
    assert isinstance(data, WindowedData)
    samples = data.prepared.splits[material.split]
    assert isinstance(samples, WindowSamples)
    values = samples.values.cpu().double().numpy() * np.asarray(spec.std) + np.asarray(spec.mean)
    forecasts, truth = scores.joined()
    starts = samples.starts.cpu().numpy()[: len(truth)]  # of several processes the first one has the first part
    baselines = {"last_value": last_value(values, starts, spec.horizon)}
    if spec.season > 1:
        baselines["seasonal_naive"] = seasonal_naive(values, starts, spec.horizon, spec.season)
    series = data.whole_series
    signal = None if series.noise is None else (series.values - series.noise[:, None])[: len(values)]
    return Forecasts(forecasts, truth, baselines, values, starts, signal, series.noise_std or 0.0)


def examples(errors: np.ndarray) -> dict[str, int]:
    """Return which windows to show: those at fixed ranks of the error, ``errors (N,)``."""
    order = np.argsort(errors, kind="stable")
    chosen = {title: int(order[round(rank * (len(order) - 1))]) for title, rank in EXAMPLES.items()}
    return {title: index for title, index in chosen.items() if list(chosen.values()).count(index) == 1} or {
        "the only window": int(order[0])
    }


def forecast_windows(theme: Theme, found: Forecasts, *, target: str, split: str) -> Figure:
    """Draw history, truth, forecast and the simplest baseline of a few windows, one below the other."""
    chosen = examples(found.errors)
    height = (
        2 * canvas.MARGIN + canvas.AXIS + len(chosen) * (PANEL + PANEL_TITLE) + canvas.TITLE + canvas.SUBTITLE - 0.1
    )
    figure = canvas.new_figure(theme, height, f"Forecasts of {target}", f"{split} split, in the data's own units")
    top = height - canvas.MARGIN - canvas.TITLE - canvas.SUBTITLE + 0.1
    for row, (label, index) in enumerate(chosen.items()):
        at, mae = int(found.starts[index]), number(float(found.errors[index]))
        canvas.write_line(figure, top - 0.17, f"{label}: mean absolute error {mae}, from row {at + 1:,} on")
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
    past = min(start, max(2 * horizon, 24))
    history, ahead = np.arange(-past + 1, 1), np.arange(1, horizon + 1)
    before, truth = found.values[start - past : start, 0], found.truth[index, :, 0]
    forecast = found.forecasts[index, :, 0]
    naive = "seasonal_naive" if "seasonal_naive" in found.baselines else "last_value"
    simple, hue = found.baselines[naive][index, :, 0], theme.baselines[HUES.index(naive)]
    drawn = [before, truth, forecast, simple]
    ends = []
    if found.signal is not None:
        signal = found.signal[start : start + horizon, 0]
        low, high = signal - found.noise_std, signal + found.noise_std
        axes.fill_between(ahead, low, high, color=theme.optimum, alpha=0.22, lw=0)
        drawn += [low, high]
        ends.append(End(float(signal[-1]), "optimum ± σ", theme.text(theme.optimum)))
    axes.axvline(0, color=theme.rule, lw=0.8)
    axes.plot(history, before, color=theme.muted, lw=1.2)
    axes.plot(np.append(0, ahead), np.append(before[-1], truth), color=theme.ink, lw=1.4)
    axes.plot(ahead, simple, color=hue, lw=1.0)
    axes.plot(ahead, forecast, color=theme.run, lw=2.0, marker="o" if horizon == 1 else "")
    ends += [
        End(float(truth[-1]), "what came", theme.ink),
        End(float(simple[-1]), spoken(naive), theme.text(hue)),
        End(float(forecast[-1]), "forecast", theme.text(theme.run)),
    ]
    canvas.scale_y(axes, np.concatenate(drawn))
    canvas.whole_ticks(axes, -past + 1, horizon, "steps after the last one seen")
    canvas.label_ends(axes, ends)


def error_by_step(theme: Theme, found: Forecasts, *, optimum: float | None, split: str) -> Figure:
    """Draw the mean absolute error of the run and of the baselines at each step of the horizon."""
    figure = canvas.new_figure(
        theme, 3.5, f"Error by step of the horizon, {split} split", "mean absolute error, in the data's own units"
    )
    axes = canvas.single_axes(figure)
    curves = [
        (spoken(name), by_step(forecast, found.truth), theme.baselines[HUES.index(name)])
        for name, forecast in found.baselines.items()
    ]
    curves.append(("this run", by_step(found.forecasts, found.truth), theme.run))
    values: Sequence[float] = [value for _, curve, _ in curves for value in curve]
    ends = [End(curve[-1], label, theme.text(colour)) for label, curve, colour in curves]
    if optimum is not None:
        values = [*values, optimum]
        ends.append(End(optimum, "optimum", theme.text(theme.optimum)))
        axes.axhline(optimum, color=theme.optimum, lw=1.0, dashes=(5, 2.5))
    canvas.scale_y(axes, values, log_from=4)
    for _, curve, colour in curves:
        draw_curve(axes, (list(range(1, len(curve) + 1)), curve), colour)
    canvas.whole_ticks(axes, 1, len(curves[0][1]), "steps ahead")
    canvas.label_ends(axes, ends)
    return canvas.fit(figure)


def by_step(forecasts: np.ndarray, truth: np.ndarray) -> list[float]:
    """Return the mean absolute error of each step, ``(horizon,)``, over windows and columns."""
    return np.abs(forecasts - truth).mean(axis=(0, 2)).tolist()
