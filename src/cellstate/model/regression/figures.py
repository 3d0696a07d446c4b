"""Figures of a regressor: predicted against true, residuals, and the waves of the sine task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cellstate.data.synthetic.sine import SineData, Waves
from cellstate.metrics.display import number
from cellstate.metrics.regression import RegressionScores
from cellstate.model.material import Material, Rows
from cellstate.plotting import canvas
from cellstate.plotting.canvas import End
from cellstate.plotting.examples import PANEL, PANEL_TITLE, examples
from cellstate.plotting.parts import Drawing, Section
from cellstate.plotting.theme import Theme

SHOWN = 4000  # most points of a scatter plot, evenly spaced in the split
ROWS = 1000  # most rows of the table of predictions, evenly spaced in the split
BINS = 60  # of the histogram, over the central 99.8 % of the residuals
TAIL = 0.1  # per cent of the residuals cut off at each end of the histogram


@dataclass(frozen=True)
class Predictions:
    """All predictions of a split, ``(N, K)`` each, unscaled; for waves also their components."""

    predicted: np.ndarray
    truth: np.ndarray
    noise_std: float | None  # of the targets, if known
    waves: Waves | None

    @property
    def errors(self) -> np.ndarray:
        """``(N,)`` mean absolute error of each sequence."""
        return np.abs(self.predicted - self.truth).mean(axis=1)


def section(material: Material) -> Section:
    """Return predicted against true and the residuals of the first target, and three waves of the sine task."""
    found, spec, split = collect(material), material.data.spec, material.split
    target = canvas.name(spec.targets[0])
    first = f" The first of {len(spec.targets)} targets." if len(spec.targets) > 1 else ""
    curve = " The curve is the density of the noise, the residuals of the best predictor." if found.noise_std else ""
    drawings = [
        Drawing(
            "predicted_and_true",
            f"Each point is a sequence of the {split} split; the line is predicted = true.{first}",
            lambda theme: scatter(theme, found, target=target, split=split),
        ),
        Drawing(
            "residuals",
            f"Predicted minus true for each sequence; unbiased predictions are centred at 0.{first}{curve}",
            lambda theme: histogram(theme, found, target=target, split=split),
        ),
    ]
    if found.waves is not None:
        drawings.insert(
            0,
            Drawing(
                "waves",
                "Three waves with the clean wave: the easy, typical and hard one are at the 10th, 50th and 90th "
                f"percentile of the error over all waves of the {split} split.",
                lambda theme: draw_waves(theme, found, split=split),
            ),
        )
    return Section("Predictions", drawings)


def tables(material: Material) -> dict[str, Rows]:
    """Return predicted and true values of at most ``ROWS`` sequences of the split."""
    found, targets = collect(material), material.data.spec.targets
    chosen = np.unique(np.linspace(0, len(found.truth) - 1, min(ROWS, len(found.truth))).astype(int))
    rows = [
        {"sequence": int(index), "target": name, "truth": float(truth), "predicted": float(predicted)}
        for index in chosen
        for name, truth, predicted in zip(targets, found.truth[index], found.predicted[index], strict=True)
    ]
    return {"predictions": rows}


def collect(material: Material) -> Predictions:
    """Return the predictions of the run and, for waves, their components."""
    scores, data = material.scores, material.data
    assert isinstance(scores, RegressionScores)
    predicted, truth = scores.joined()
    if not isinstance(data, SineData):
        return Predictions(predicted, truth, None, None)
    waves = Waves(*(part[: len(truth)] for part in data.waves(material.split)))  # or the first process's part
    return Predictions(predicted, truth, data.noise or None, waves)


def scatter(theme: Theme, found: Predictions, *, target: str, split: str) -> Figure:
    """Draw the predicted over the true values of the first target, with the identity."""
    truth, predicted = found.truth[:, 0], found.predicted[:, 0]
    subtitle = f"{len(truth):,} sequences of the {split} split, in the units of the data"
    figure = canvas.new_figure(theme, 4.8, f"Predicted against true: {target}", subtitle)
    top = figure.get_size_inches()[1] - canvas.MARGIN - canvas.TITLE - canvas.SUBTITLE
    canvas.write_line(figure, top + 0.02, "predicted", color=theme.muted)
    axes = canvas.add_axes(figure, canvas.MARGIN + canvas.AXIS, top - 0.24)
    canvas.scale_y(axes, [*truth, *predicted])
    limits = axes.get_ylim()
    axes.set_xlim(limits)
    axes.set_xticks(axes.get_yticks(), [label.get_text() for label in axes.get_yticklabels()])
    axes.set_xlabel("true")
    axes.axline((limits[0], limits[0]), slope=1, color=theme.optimum, lw=1.2, dashes=(5, 2.5), zorder=3)
    shown = slice(None, None, -(-len(truth) // SHOWN))
    axes.plot(truth[shown], predicted[shown], "o", color=theme.run, ms=2.6, mew=0, alpha=0.45)
    canvas.label_ends(axes, [End(limits[1], "identity", theme.text(theme.optimum))])
    return canvas.fit(figure)


def histogram(theme: Theme, found: Predictions, *, target: str, split: str) -> Figure:
    """Draw the histogram of the residuals of the first target, with the density of the noise if known."""
    residuals = found.predicted[:, 0] - found.truth[:, 0]
    mean, std = number(float(residuals.mean())), number(float(residuals.std()))
    subtitle = f"predicted minus true, {split} split  ·  mean {mean}, standard deviation {std}"
    figure = canvas.new_figure(theme, 3.5, f"Residuals: {target}", subtitle)
    axes = canvas.single_axes(figure)
    edges = bin_edges(residuals)
    counts, _ = np.histogram(residuals, edges)
    axes.stairs(counts, edges, fill=True, color=theme.run, alpha=0.55, lw=0)
    heights, ends = [0.0, float(counts.max())], []
    if found.noise_std:
        places = np.linspace(edges[0], edges[-1], 200)
        density = np.exp(-((places / found.noise_std) ** 2) / 2) / (found.noise_std * np.sqrt(2 * np.pi))
        expected = density * len(residuals) * (edges[1] - edges[0])  # sequences per bin
        axes.plot(places, expected, color=theme.optimum, lw=1.6)
        heights.append(float(expected.max()))
        ends.append(End(float(expected[-1]), "noise", theme.text(theme.optimum)))
    axes.axvline(0, color=theme.muted, lw=0.8)
    canvas.scale_y(axes, heights)
    axes.set_ylim(bottom=0)
    set_x(axes, edges)
    axes.set_xlabel("predicted minus true")
    canvas.label_ends(axes, ends)
    return canvas.fit(figure)


def bin_edges(residuals: np.ndarray) -> np.ndarray:
    """Return edges of equal bins around 0 for all ``residuals (N,)`` but the tails, of positive width."""
    reach = float(np.abs(np.percentile(residuals, [TAIL, 100 - TAIL])).max())
    reach = max(reach, 1e-9 * max(1.0, float(np.abs(residuals).max())))
    return np.linspace(-reach, reach, max(11, min(BINS, len(residuals) // 10)) | 1)


def set_x(axes: Axes, values: np.ndarray) -> None:
    """Set limits and round ticks of the x axis for the range of ``values``."""
    low, high = float(values[0]), float(values[-1])
    ticks = [float(tick) for tick in MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
    shown = [
        (tick, label)
        for tick, label in zip(ticks, canvas.plain_numbers(ticks), strict=True)
        if low - 1e-9 * (high - low) <= tick <= high + 1e-9 * (high - low)
    ]
    axes.set_xlim(low, high)
    axes.set_xticks([tick for tick, _ in shown], [label for _, label in shown])


def draw_waves(theme: Theme, found: Predictions, *, split: str) -> Figure:
    """Draw window, clean wave, truth and prediction of a few waves, stacked."""
    chosen = examples(found.errors)
    height = (
        2 * canvas.MARGIN + canvas.AXIS + len(chosen) * (PANEL + PANEL_TITLE) + canvas.TITLE + canvas.SUBTITLE - 0.1
    )
    steps = found.truth.shape[1]
    horizon = "the next value" if steps == 1 else f"the next {steps} values"
    figure = canvas.new_figure(theme, height, "Waves and predictions", f"{horizon}, {split} split")
    top = height - canvas.MARGIN - canvas.TITLE - canvas.SUBTITLE + 0.1
    for row, (label, index) in enumerate(chosen.items()):
        mae = number(float(found.errors[index]))
        canvas.write_line(figure, top - 0.17, f"{label}: mean absolute error {mae}, wave {index + 1:,}")
        axes = canvas.add_axes(figure, top - PANEL_TITLE - PANEL, top - PANEL_TITLE)
        draw_wave(theme, axes, found, index)
        if row < len(chosen) - 1:
            axes.tick_params(labelbottom=False)
            axes.set_xlabel("")
        top -= PANEL_TITLE + PANEL
    return canvas.fit(figure)


def draw_wave(theme: Theme, axes: Axes, found: Predictions, index: int) -> None:
    """Draw one wave; the last step of the window is 0."""
    assert found.waves is not None
    values, signal, _ = (part[index] for part in found.waves)
    horizon = found.truth.shape[1]
    time = np.arange(len(values)) - (len(values) - horizon) + 1
    ahead, truth, predicted = time[-horizon:], found.truth[index], found.predicted[index]
    axes.axvline(0.5, color=theme.rule, lw=0.8)
    axes.plot(time, signal, color=theme.optimum, lw=1.2)
    axes.plot(time[:-horizon], values[:-horizon], "o", color=theme.muted, ms=2.4, mew=0)
    marked = {"marker": "o", "ms": 5.0 if horizon == 1 else 3.0, "mew": 0}
    axes.plot(ahead, truth, color=theme.ink, lw=1.2, zorder=4, **marked)
    axes.plot(ahead, predicted, color=theme.run, lw=1.8, zorder=5, **marked)
    canvas.scale_y(axes, np.concatenate((values, signal, predicted)))
    canvas.whole_ticks(axes, int(time[0]), int(time[-1]), "steps after the end of the window")
    ends = [
        End(float(signal[-1]), "clean wave", theme.text(theme.optimum)),
        End(float(truth[-1]), "observed", theme.ink),
        End(float(predicted[-1]), "predicted", theme.text(theme.run)),
    ]
    canvas.label_ends(axes, ends)
