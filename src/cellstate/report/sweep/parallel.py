"""Parallel coordinates: each configuration is a line through its values to its score."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from cellstate.metrics.table import metric_of, rank
from cellstate.plotting import canvas
from cellstate.plotting.parts import Drawing
from cellstate.plotting.theme import Theme
from cellstate.report.configuration import is_number
from cellstate.report.sweep.importance import Importance
from cellstate.report.sweep.reading import Group, Sweep, brief

HEIGHT = 4.4  # inches
AXES = 8  # parameters at most; the most important ones
CHOICES = 10  # distinct numbers up to which an axis is categorical
LOG_FROM = 20
LABEL = 1.15  # inches of a tick label


@dataclass(frozen=True)
class Scale:
    """One axis: the position of each configuration (0 is the bottom, 1 the top), and the ticks."""

    title: str
    places: Sequence[float]
    ticks: Sequence[tuple[float, str]]


def drawing(sweep: Sweep, label: str, important: Sequence[Importance]) -> list[Drawing]:
    """Return the figure; empty if fewer than two configurations have a score."""
    if len(sweep.scored) < 2 or not sweep.keys:
        return []
    order = [one.key for one in important if one.key in sweep.keys] or sweep.keys
    keys = [key for key in sweep.keys if key in order[:AXES]]
    left_out = f" The {AXES} most important of {len(sweep.keys)} parameters." if len(keys) < len(sweep.keys) else ""
    return [
        Drawing(
            "parallel_coordinates",
            "Each line is a configuration, through its values to the mean of its jobs; darker lines are better, the "
            f"best one is coloured. On the rightmost axis, higher is better.{left_out}",
            lambda theme: draw(theme, sweep, keys, label=label),
            wide=True,
        )
    ]


def draw(theme: Theme, sweep: Sweep, keys: Sequence[str], *, label: str) -> Figure:
    """Draw an axis for each parameter and for the metric, and a line for each configuration."""
    groups = sweep.scored
    figure = canvas.new_figure(
        theme, HEIGHT, "Parallel coordinates", f"{label}, {sweep.split} split", width=canvas.FULL_WIDTH
    )
    top = HEIGHT - canvas.MARGIN - canvas.TITLE - canvas.SUBTITLE - 0.2
    axes = canvas.add_axes(figure, canvas.MARGIN + 0.1, top)
    axes.set_position((0.012, axes.get_position().y0, 0.905, axes.get_position().height))
    axes.set(xlim=(-0.02, len(keys) + 0.02), ylim=(-0.04, 1.04), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    scales = [scale_of(sweep, key) for key in keys]
    scales.append(scale_of_scores(sweep, groups))
    step = 1.0 / max(len(groups) - 1, 1)
    for place in reversed(range(len(groups))):
        best = place == 0
        hue = theme.run if best else theme.mixed(theme.surface, 0.62 - 0.4 * place * step)
        line(axes, [scale.places[place] for scale in scales], hue, 2.6 if best else 1.1)
    for at, scale in enumerate(scales):
        draw_scale(theme, figure, axes, at, scale, last=at == len(scales) - 1)
    return figure


def scale_of(sweep: Sweep, key: str) -> Scale:
    """Return the axis of one parameter: a numeric range, or categories for words and for few numbers."""
    title, values = sweep.short(key), [group.values.get(key) for group in sweep.scored]
    space: Mapping[str, Any] = ((sweep.content.get("search") or {}).get("space") or {}).get(key) or {}
    numbers = [float(value) for value in values if is_number(value)]
    drawn = isinstance(space.get("low"), float)  # sampled by a search from a range of floats
    if len(numbers) == len(values) and (drawn or len(set(numbers)) > CHOICES):
        return scale_of_numbers(title, numbers, logarithmic=space.get("log"))
    return scale_of_choices(title, values, [rank(sweep.metric, group.mean) for group in sweep.scored])


def scale_of_numbers(title: str, values: Sequence[float], *, logarithmic: bool | None = None) -> Scale:
    """Return a numeric axis; ``logarithmic=None`` decides by the ratio of its ends."""
    low, high = min(values), max(values)
    if logarithmic is None:
        logarithmic = low > 0 and high / low >= LOG_FROM
    logarithmic = logarithmic and high > low
    ticks = canvas.log_ticks(low, high) if logarithmic else canvas.round_ticks(low, high)

    def place(value: float) -> float:
        if logarithmic:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / ((high - low) or 1.0)

    labels = [canvas.compact(tick) for tick in ticks] if logarithmic else canvas.plain_numbers(ticks)
    inside = [(place(tick), text) for tick, text in zip(ticks, labels, strict=True) if low <= tick <= high]
    return Scale(title, [place(value) for value in values], inside)


def scale_of_choices(title: str, values: Sequence[Any], ranks: Sequence[float]) -> Scale:
    """Return a categorical axis; within a category, configurations are spread out, the best at the top."""
    names = ["not set" if value is None else brief(value) for value in values]
    numbers = dict(zip(names, values, strict=True))
    order = sorted(dict.fromkeys(names), key=lambda name: numbers[name]) if all(map(is_number, values)) else None
    order = order or sorted(dict.fromkeys(names))
    width = 1.0 / len(order)
    middles = {name: (place + 0.5) * width for place, name in enumerate(order)}
    places = np.zeros(len(names))
    for name in order:
        members = sorted((at for at, one in enumerate(names) if one == name), key=lambda at: -ranks[at])
        reach = 0.62 * width if len(members) > 1 else 0.0
        places[members] = middles[name] + np.linspace(-reach / 2, reach / 2, len(members))
    every = -(-len(order) // 14)  # at most 14 labels
    return Scale(title, places.tolist(), [(middles[name], name) for name in order[::every]])


def scale_of_scores(sweep: Sweep, groups: Sequence[Group]) -> Scale:
    """Return the axis of the scores, the best at the top."""
    means = [group.mean for group in groups if group.mean is not None]
    scale = scale_of_numbers(sweep.metric.replace("_", " "), means)
    if metric_of(sweep.metric).mode != "min":
        return scale
    return Scale(scale.title, [1 - at for at in scale.places], [(1 - at, text) for at, text in scale.ticks])


def line(axes: Axes, places: Sequence[float], hue: str, width: float) -> None:
    """Draw a line of cubic Bézier curves that crosses each axis horizontally."""
    points, codes = [(0.0, places[0])], [Path.MOVETO]
    for at, (here, there) in enumerate(itertools.pairwise(places)):
        points += [(at + 0.5, here), (at + 0.5, there), (at + 1.0, there)]
        codes += [Path.CURVE4] * 3
    axes.add_patch(PathPatch(Path(points, codes), fc="none", ec=hue, lw=width, clip_on=False, capstyle="round"))


def draw_scale(theme: Theme, figure: Figure, axes: Axes, at: int, scale: Scale, *, last: bool) -> None:
    """Draw one axis with its title above and its tick labels to the right."""
    axes.plot([at, at], [0, 1], color=theme.muted, lw=0.9, zorder=5)
    room = LABEL if last else min(LABEL, 0.9 * axes.bbox.width / canvas.DPI / max(axes.get_xlim()[1] - 0.04, 1))
    right = {"xytext": (5, 0), "textcoords": "offset points", "annotation_clip": False}
    title = canvas.shortened(figure, canvas.name(scale.title), room, weight="bold")
    axes.annotate(title, (at, 1.04), **{**right, "xytext": (0, 8)}, weight="bold", ha="left", color=theme.ink)
    ground = {"facecolor": theme.surface, "edgecolor": "none", "alpha": 0.85, "pad": 1.0}
    for place, text in scale.ticks:
        axes.plot([at], [place], marker=0, ms=4, color=theme.muted, zorder=6, clip_on=False)
        name = canvas.shortened(figure, canvas.name(text), room)
        axes.annotate(name, (at, place), **right, va="center_baseline", color=theme.ink, bbox=ground, zorder=7)
