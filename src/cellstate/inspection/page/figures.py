"""Figures of saturation, time constants and gradients."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cellstate.inspection.analysis import LayerFlow
from cellstate.inspection.analysis.states import KEEPING
from cellstate.inspection.result import Inspection
from cellstate.inspection.summary import LN10, power
from cellstate.plotting import canvas
from cellstate.plotting.canvas import End
from cellstate.plotting.parts import Drawing
from cellstate.plotting.theme import Theme

HEIGHT = 3.4  # inches
ROW = 0.27  # inches of a bar
BELOW = 2.0  # decades below the lowest median down to which the carry path's bands are drawn


def hue(theme: Theme, place: int) -> str:
    """Return the colour of a layer, the same in all figures."""
    return theme.groups[place] if place < len(theme.groups) else theme.muted


# ---------------------------------------------------------------------- units


def saturation(found: Inspection) -> list[Drawing]:
    """Return the figure of the shares of steps in which gates are shut and open."""
    if not found.units[0].saturation:
        return []
    return [
        Drawing(
            "saturation",
            "Shut: below 0.1; open: above 0.9; over all units, steps and sequences. A gate that is always open or "
            "always shut does not depend on the input.",
            lambda theme: draw_saturation(theme, found),
        )
    ]


def draw_saturation(theme: Theme, found: Inspection) -> Figure:
    """Draw a bar for each gate of each layer."""
    bars = [
        (f"{units.name}  {gate}", float(share.shut.mean()), float(share.open.mean()))
        for units in found.units
        for gate, share in units.saturation.items()
    ]
    height = 2 * canvas.MARGIN + canvas.TITLE + canvas.SUBTITLE + 0.2 + canvas.AXIS + ROW * (len(bars) + 0.5)
    figure = canvas.new_figure(theme, height, "Saturation of the gates", f"share of all {found.steps}, over the units")
    axes = canvas.add_axes(
        figure, canvas.MARGIN + canvas.AXIS, height - canvas.MARGIN - canvas.TITLE - canvas.SUBTITLE - 0.2
    )
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    shut, open_ = theme.groups[0], theme.groups[1]
    for row, (_, low, high) in enumerate(bars):
        axes.barh(row, low, color=shut, height=0.62)
        axes.barh(row, 1 - low - high, left=low, color=theme.rule, height=0.62)
        axes.barh(row, high, left=1 - high, color=open_, height=0.62)
        axes.text(1.02, row, f"{100 * low:.0f} / {100 * high:.0f} %", va="center_baseline", color=theme.muted,
                  transform=axes.get_yaxis_transform())  # fmt: skip
    axes.set_yticks(range(len(bars)), [name for name, _, _ in bars])
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    axes.annotate("shut", (0, 1), xycoords="axes fraction", xytext=(0, 3), textcoords="offset points",
                  color=theme.text(shut), ha="left", va="bottom")  # fmt: skip
    axes.annotate("open", (1, 1), xycoords="axes fraction", xytext=(0, 3), textcoords="offset points",
                  color=theme.text(open_), ha="right", va="bottom")  # fmt: skip
    axes.set_xlabel(f"share of {found.steps}")
    return canvas.fit(figure)


def time_constants(found: Inspection) -> list[Drawing]:
    """Return the figure of the time constants."""
    if found.units[0].time_constant is None:
        return []
    return [
        Drawing(
            "time_constants",
            f"{found.named(found.steps).capitalize()} until a unit's state has decayed to exp(−1) = 37 %: −1 / mean "
            f"log of its {KEEPING[found.states.layers[0].kind]} gate over all {found.steps} and sequences; sorted.",
            lambda theme: draw_time_constants(theme, found),
        )
    ]


def draw_time_constants(theme: Theme, found: Inspection) -> Figure:
    """Draw a curve for each layer and direction."""
    figure = canvas.new_figure(theme, HEIGHT, "Time constants of units", f"time constant, {found.named(found.steps)}")
    axes = canvas.single_axes(figure)
    curves = []
    for units in found.units:
        assert units.time_constant is not None
        curves.append(np.sort(np.clip(units.time_constant.double().numpy(), 1e-2, 1e6))[::-1])
    canvas.scale_y(axes, np.concatenate(curves), log_from=10)
    count = len(curves[0])
    ends = []
    for place, (units, curve) in enumerate(zip(found.units, curves, strict=True)):
        colour = hue(theme, place)
        marker = "o" if count <= 40 else ""
        axes.plot(np.arange(1, count + 1), curve, color=colour, marker=marker, ms=3.5, clip_on=False)
        ends.append(End(float(curve[-1]), units.name, theme.text(colour)))
    canvas.whole_ticks(axes, 1, count, "units, sorted")
    canvas.label_ends(axes, ends)
    return canvas.fit(figure)


# ---------------------------------------------------------------------- gradients


def gradients(found: Inspection) -> list[Drawing]:
    """Return the figures of the norms of dL/dh_t and dL/dc_t, and of the carry path."""
    what = (
        f"L is {found.loss}. Geometric mean over the sequences; {found.steps} are counted back from the last one that "
        "the layer reads."
    )
    if any(flow.direction == "backward" for flow in found.flow.layers):
        what += (
            f" A backward layer (reverse) reads the first {found.step} of the input last, so this is its 0. "
            "If L depends only on the output at the last input step, the gradient of such a layer enters at the right "
            "and decreases to the left."
        )
    shown = [
        Drawing(
            "gradient_h",
            f"{what} A straight falling line is a gradient that vanishes exponentially, a rising one explodes.",
            lambda theme: draw_gradient(theme, found, "hidden"),
        )
    ]
    if found.flow.layers[0].cell is not None:
        shown.append(
            Drawing("gradient_c", f"{what} At the cell states.", lambda theme: draw_gradient(theme, found, "cell"))
        )
    if found.flow.layers[0].carry is not None:
        state = "c" if found.kind == "lstm" else "h"
        gate = "f" if found.kind == "lstm" else "z"
        shown.append(
            Drawing(
                "carry_path",
                f"Share of the gradient that passes from the end to a step directly along {state}: the product of "
                f"the gates {gate} after it, exp(sum of log {gate}). Lines: median of the units; bands: 10 % to 90 % "
                "quantiles, cut off two decades below the lowest median; dotted: the unit with the largest share.",
                lambda theme: draw_carry(theme, found),
            )
        )
    return shown


def back(flow: LayerFlow, values: np.ndarray) -> np.ndarray:
    """Return values ``(B, T, ...)`` aligned by steps back from the last that the layer reads, padded with NaN."""
    valid = flow.valid.cpu().numpy()
    found = np.full_like(values, np.nan)
    for row, length in enumerate(valid.sum(1)):
        part = values[row, :length]
        found[row, :length] = part[::-1] if flow.direction == "forward" else part
    return found


def mean_decades(flow: LayerFlow, part: str) -> np.ndarray:
    """Return the mean of log10 of the norms, by steps back; NaN where all norms are 0."""
    norms = flow.norms(part).cpu().numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = back(flow, np.log10(norms))
    logs = logs[np.isfinite(logs).any(1)]
    logs[~np.isfinite(logs)] = np.nan
    counted = np.isfinite(logs).sum(0)
    with np.errstate(invalid="ignore"):
        return np.where(counted > 0, np.nansum(logs, 0) / np.maximum(counted, 1), np.nan)


def draw_gradient(theme: Theme, found: Inspection, part: str) -> Figure:
    """Draw the norm of a gradient in each layer and direction, on a logarithmic axis."""
    letter = "h" if part == "hidden" else "c"
    figure = canvas.new_figure(theme, HEIGHT, f"Gradient at {letter} of each step", f"norm of dL/d{letter}")
    axes = canvas.single_axes(figure)
    curves = [mean_decades(flow, part) for flow in found.flow.layers]
    decades(axes, np.concatenate(curves))
    ends = []
    for place, (flow, curve) in enumerate(zip(found.flow.layers, curves, strict=True)):
        colour, reached = hue(theme, place), np.flatnonzero(np.isfinite(curve))
        if not len(reached):
            continue
        marker = "o" if len(curve) <= 40 else ""
        axes.plot(np.arange(len(curve)), curve, color=colour, marker=marker, ms=3, clip_on=False)
        ends.append(End(float(curve[reached[-1]]), flow.name, theme.text(colour)))
    steps_back(axes, max(len(curve) for curve in curves), found)
    canvas.label_ends(axes, ends)
    return canvas.fit(figure)


def draw_carry(theme: Theme, found: Inspection) -> Figure:
    """Draw the carry path of each layer and direction, on a logarithmic axis."""
    figure = canvas.new_figure(theme, HEIGHT, "Carry path", "share of the gradient carried by the states")
    axes = canvas.single_axes(figure)
    bands = []
    for flow in found.flow.layers:
        assert flow.carry is not None
        valid = flow.valid.cpu().numpy()
        logs = np.where(valid[..., None], flow.carry.double().cpu().numpy() / LN10, np.nan)
        units = columns_mean(back(flow, logs))  # (T, H)
        bands.append(np.quantile(units, [0.1, 0.5, 0.9, 1.0], axis=1))
    # A unit that forgets at once falls by decades per step, which would squeeze the other curves.
    deepest = min(float(middle.min()) for _, middle, _, _ in bands) - BELOW
    bands = [np.maximum(band, deepest) for band in bands]
    decades(axes, np.concatenate([band.ravel() for band in bands]))
    ends = []
    for place, (flow, (least, middle, most, best)) in enumerate(zip(found.flow.layers, bands, strict=True)):
        colour, at = hue(theme, place), np.arange(len(middle))
        axes.fill_between(at, least, most, color=colour, alpha=0.16, lw=0)
        axes.plot(at, middle, color=colour, lw=1.6)
        axes.plot(at, best, color=colour, lw=1.0, ls=":")
        ends.append(End(float(middle[-1]), flow.name, theme.text(colour)))
    steps_back(axes, max(len(band[1]) for band in bands), found)
    canvas.label_ends(axes, ends)
    return canvas.fit(figure)


def columns_mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the rows that have a step, from 0 steps back to the longest row."""
    counted = np.isfinite(values).sum(0)
    kept = values[:, counted[:, 0] > 0]
    return np.nansum(kept, 0) / counted[counted[:, 0] > 0]


def decades(axes: Axes, logs: np.ndarray) -> None:
    """Set a logarithmic y axis for values given by their log10, which may be below the range of floats."""
    finite = logs[np.isfinite(logs)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (-1.0, 0.0)
    room = max(0.2 - (high - low) / 2, (high - low) * 0.06)
    low, high = low - room, high + room
    if high - low > 2.5:
        ticks = [float(tick) for tick in MaxNLocator(5, integer=True).tick_values(low, high)]
    else:  # within a few decades also 2, 5 and the like; relative to one decade, as 10^-400 underflows
        base = math.floor(low)
        ticks = [base + math.log10(tick) for tick in canvas.log_ticks(10 ** (low - base), 10 ** (high - base))]
    ticks = [tick for tick in ticks if low <= tick <= high]
    axes.set_ylim(low, high)
    axes.set_yticks(ticks, [power(tick) for tick in ticks])


def steps_back(axes: Axes, steps: int, found: Inspection) -> None:
    """Set an x axis of steps back from the last."""
    canvas.whole_ticks(
        axes, 0, max(1, steps - 1), f"{found.named(found.steps)} back from the last one in reading order"
    )
