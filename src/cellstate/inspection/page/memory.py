"""Figures of memory and of receptive fields."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cellstate.inspection.analysis import MemoryCurve, ReceptiveField
from cellstate.inspection.result import Inspection
from cellstate.inspection.summary import power
from cellstate.plotting import canvas
from cellstate.plotting.parts import Drawing
from cellstate.plotting.theme import Theme

HEIGHT = 3.4  # inches
BETWEEN = (
    "Between the measured dots the curve is interpolated exponentially, as for the half-memory length: the part above "
    "chance changes by a constant factor per step. Diamond: the half-memory length, where half of the peak is left."
)


def memory(found: Inspection) -> list[Drawing]:
    """Return the figures of memory against delay."""
    shown = []
    if found.influence is not None:
        curve = found.influence
        shown.append(
            Drawing(
                "influence",
                "Mean change of the last prediction when the input at this delay is replaced by that of another "
                f"sequence: the information that is used. Measured as {found.divergence}. "
                + (
                    "Bars: 95 % bootstrap interval over sequences. "
                    if found.interval
                    else "There are too few independent sequences for an interval. "
                )
                + BETWEEN,
                lambda theme: draw_memory(
                    theme,
                    curve,
                    "Influence of inputs on the prediction",
                    "steps before the last",
                    interval=found.interval,
                ),
            )
        )
    if found.recall is not None:
        recalled = found.recall
        unit = f"delay, {found.named(found.steps)}"
        shown.append(
            Drawing(
                "recall",
                "Score of a linear readout of earlier inputs from the top layer's state, on sequences that it was "
                "not fitted on: the information that is present. Grey: chance level, with the bound that 95 of 100 "
                f"shuffles stay below at all delays; scores within it are not significant. {BETWEEN}",
                lambda theme: draw_memory(theme, recalled, "Recall of inputs from the state", unit),
            )
        )
    return shown


def draw_memory(theme: Theme, curve: MemoryCurve, title: str, unit: str, *, interval: bool = True) -> Figure:
    """Draw one curve with its interval, chance level and half-memory length."""
    measure = {"R^2": "R²: share of the variance", "accuracy": "accuracy"}.get(
        curve.what, "Kullback-Leibler divergence, nats"
    )
    figure = canvas.new_figure(theme, HEIGHT, title, measure)
    axes = canvas.add_axes(
        figure, canvas.MARGIN + canvas.AXIS, HEIGHT - canvas.MARGIN - canvas.TITLE - canvas.SUBTITLE - 0.2
    )
    low, high = curve.interval()
    lags = curve.lags.astype(float)
    wide = lags[-1] > 48
    place = np.log1p(lags) if wide else lags  # logarithmic from delay 0 on
    ceiling = curve.chance + curve.chance_high
    tops = [curve.values, ceiling, *([high] if interval else [])]
    canvas.scale_y(axes, [0.0, *(value for values in tops for value in values[np.isfinite(values)])])
    bottom, _ = axes.get_ylim()
    if curve.what != "KL (nats)":
        axes.fill_between(place, curve.chance, ceiling, color=theme.muted, alpha=0.25, lw=0)
        axes.plot(place, curve.chance, color=theme.muted, lw=1.0, dashes=(5, 2.5))
    if interval:
        axes.vlines(place, np.maximum(low, bottom), high, color=theme.run, alpha=0.3, lw=5)
    between, line = curve.line()
    axes.plot(np.log1p(between) if wide else between, line, color=theme.run, clip_on=False)
    axes.plot(place, curve.values, color=theme.run, marker="o", ms=3.5, lw=0, clip_on=False)
    half = curve.half_memory()
    if half.steps is not None and half.low is not None and half.high is not None:
        at, first, last = (math.log1p(value) if wide else value for value in (half.steps, half.low, half.high))
        if interval:
            axes.axvspan(first, last, color=theme.ink, alpha=0.08, lw=0)
        level = curve.half_level(half.steps)
        if not half.censored:
            axes.plot([at], [level], marker="D", ms=4.5, color=theme.ink, mec=theme.surface, mew=0.8, zorder=4)
        axes.axvline(at, color=theme.ink, lw=1.0, dashes=(2, 2))
        least = "≥ " if half.censored else ""
        left = at > (place[0] + place[-1]) / 2
        axes.annotate(
            f"half-memory {least}{half.steps:.1f}", (at, 1), xycoords=("data", "axes fraction"),
            xytext=(3 if left else -3, 3), textcoords="offset points", ha="right" if left else "left", va="bottom",
            color=theme.ink, annotation_clip=False,
        )  # fmt: skip
    delay_ticks(axes, lags, wide=wide)
    axes.set_xlabel(unit)
    return canvas.fit(figure)


def delay_ticks(axes: Axes, lags: np.ndarray, *, wide: bool) -> None:
    """Label the delays, on an axis that is logarithmic (log1p) if ``wide``."""
    longest = int(lags[-1])
    if wide:
        ticks = [
            0,
            *(tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000) if tick <= longest),
        ]
        places = np.log1p(ticks)
    else:
        ticks = sorted(
            {int(tick) for tick in MaxNLocator(7, integer=True).tick_values(0, max(longest, 1)) if 0 <= tick <= longest}
        )
        places = np.asarray(ticks, float)
    span = float(np.log1p(longest) if wide else longest) or 1.0
    axes.set_xlim(-0.02 * span, 1.02 * span)
    axes.set_xticks(places, [f"{tick:,}" for tick in ticks])


# ---------------------------------------------------------------------- receptive field


def fields(found: Inspection) -> list[Drawing]:
    """Return the figures of the receptive fields."""
    titles = {
        "head": ("receptive_field_head", "Receptive field in the window", "after the window's normalisation"),
        "series": ("receptive_field", "Receptive field in the series", "through the batches of the data"),
    }
    shown = []
    for name, field in found.fields.items():
        file, title, subtitle = titles[name]
        future = " Right of the line is the future, which must be blank." if name == "series" else ""
        shown.append(
            Drawing(
                file,
                "Magnitude of the derivative of each forecast step (row) with respect to each input step (column), "
                f"relative to the largest. Blank: exactly 0.{future}",
                lambda theme, field=field, title=title, subtitle=subtitle: draw_field(theme, field, title, subtitle),
                heat=True,
            )
        )
    return shown


def draw_field(theme: Theme, field: ReceptiveField, title: str, subtitle: str) -> Figure:
    """Draw the strengths on a logarithmic scale."""
    strength = field.strength.double().cpu().numpy()
    horizon, steps = strength.shape
    figure = canvas.new_figure(theme, HEIGHT, title, subtitle)
    axes = canvas.add_axes(
        figure, canvas.MARGIN + canvas.AXIS, HEIGHT - canvas.MARGIN - canvas.TITLE - canvas.SUBTITLE - 0.16
    )
    with np.errstate(divide="ignore"):
        logs = np.log10(strength / (strength.max() or 1.0))
    logs[~np.isfinite(logs)] = np.nan
    deepest = min(-1.0, max(-12.0, float(np.nanmin(logs)) if np.isfinite(logs).any() else -1.0))
    first = 1 - field.known
    image = axes.imshow(
        np.ma.masked_invalid(np.maximum(logs, deepest)), aspect="auto", interpolation="nearest", vmin=deepest, vmax=0,
        cmap=ListedColormap(theme.shares()), extent=(first - 0.5, steps - field.known + 0.5, horizon + 0.5, 0.5),
    )  # fmt: skip
    axes.grid(visible=False)
    if steps > field.known:
        axes.axvline(0.5, color=theme.ink, lw=1.2)
        axes.annotate("future", (0.5, 1), xycoords=("data", "axes fraction"), xytext=(3, 3), textcoords="offset points",
                      color=theme.muted, annotation_clip=False)  # fmt: skip
    ticks = MaxNLocator(6, integer=True).tick_values(1, horizon)
    axes.set_yticks([int(tick) for tick in ticks if 1 <= tick <= horizon])
    axes.set_ylabel("step of the forecast")
    ticks = [int(tick) for tick in MaxNLocator(7, integer=True).tick_values(first, steps - field.known)]
    ticks = [tick for tick in ticks if first <= tick <= steps - field.known]
    axes.set_xticks(ticks, [f"{tick:,}".replace("-", "−") for tick in ticks])
    axes.set_xlabel("input step, 0 the newest")
    width = figure.get_size_inches()[0]
    axes.set_position((0.62 / width, axes.get_position().y0, (width - 0.62 - 0.95) / width, axes.get_position().height))
    box = axes.get_position()
    scale = figure.add_axes((box.x1 + 0.12 / width, box.y0, 0.16 / width, box.height))
    bar = figure.colorbar(image, cax=scale)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    marks = [deepest, deepest / 2, 0.0]
    bar.set_ticks(
        marks,
        labels=[
            ("≤ " if place == 0 and deepest == -12 else "") + power(round(mark, 1)) for place, mark in enumerate(marks)
        ],
    )
    scale.tick_params(length=0, pad=3)
    scale.grid(visible=False)
    return figure
