"""Score against cost: training time or number of parameters of each configuration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cellstate.metrics.table import metric_of, rank
from cellstate.plotting import canvas
from cellstate.plotting.parts import Drawing
from cellstate.plotting.theme import Theme
from cellstate.report.sweep.reading import Group, Sweep, brief

HEIGHT = 4.2  # inches
NAMED = 5  # labelled points
COSTS = {"seconds": "training time (s)", "parameters": "number of parameters"}


@dataclass(frozen=True)
class Point:
    """A configuration: its cost, its score, and whether it is on the Pareto front."""

    group: Group
    cost: float
    score: float
    kind: str  # value of the parameter shown by colour
    front: bool


def drawings(sweep: Sweep, label: str) -> list[Drawing]:
    """Return a figure for each cost that differs between configurations."""
    found = []
    key = hue_key(sweep)
    for cost, axis in COSTS.items():
        points = points_of(sweep, cost, key)
        if len({point.cost for point in points}) < 2:
            continue
        hues = f" Colour: {sweep.short(key)}." if key else ""
        found.append(
            Drawing(
                f"score_against_{cost}",
                "Each dot is a configuration, the mean of its jobs. The line is the Pareto front: no cheaper "
                f"configuration is better.{hues}",
                lambda theme, points=points, axis=axis: draw(theme, points, sweep, label=label, axis=axis, key=key),
            )
        )
    return found


def hue_key(sweep: Sweep) -> str | None:
    """Return the first categorical parameter with few values; None if there is none."""
    for key in sweep.keys:
        values = {value if isinstance(value := group.values.get(key), (str, bool)) else None for group in sweep.scored}
        if None not in values and 1 < len(values) <= 6:
            return key
    return None


def points_of(sweep: Sweep, cost: str, key: str | None) -> list[Point]:
    """Return the configurations with a known cost, the cheapest first."""
    known = [
        (paid, group.mean, group)
        for group in sweep.scored
        if (paid := group.average(cost)) is not None and group.mean is not None
    ]
    points, best = [], math.inf
    for paid, score, group in sorted(known, key=lambda one: (one[0], rank(sweep.metric, one[1]))):
        reached = rank(sweep.metric, score)
        points.append(Point(group, paid, score, brief(group.values[key]) if key else "", reached < best))
        best = min(best, reached)
    return points


def draw(theme: Theme, points: Sequence[Point], sweep: Sweep, *, label: str, axis: str, key: str | None) -> Figure:
    """Draw the points and the Pareto front with its names."""
    metric = metric_of(sweep.metric)
    figure = canvas.new_figure(
        theme, HEIGHT, f"{label[0].upper()}{label[1:]} against {axis}", f"{sweep.split} split; {metric.in_words}"
    )
    top = HEIGHT - canvas.MARGIN - canvas.TITLE - canvas.SUBTITLE
    axes = canvas.add_axes(figure, canvas.MARGIN + canvas.AXIS, top - (0.2 if key else 0))
    # Ordered by the best of each, so that colours match the learning curves.
    kinds = list(dict.fromkeys(brief(group.values[key]) for group in sweep.scored)) if key else [""]
    hues = dict(zip(kinds, theme.groups, strict=False)) if key else {"": theme.run}
    front = [point for point in points if point.front]
    canvas.scale_x(axes, [point.cost for point in points], log_from=5)
    canvas.scale_y(axes, [point.score for point in points], log_from=20 if metric.mode == "min" else math.inf)
    axes.step(
        [point.cost for point in front], [point.score for point in front],
        where="post", color=theme.muted, lw=1.0, dashes=(4, 2),
    )  # fmt: skip
    for point in points:
        hue, size = hues[point.kind], 8 if point.front else 5.5
        axes.plot(point.cost, point.score, "o", color=hue, ms=size, mew=0, alpha=0.9 if point.front else 0.55, zorder=4)
    axes.set_xlabel(axis)
    canvas.fit(figure)
    name_points(theme, figure, axes, front[-NAMED:])
    if key:
        write_legend(theme, figure, {canvas.name(kind): hues[kind] for kind in kinds}, top - 0.02)
    return figure


def name_points(theme: Theme, figure: Figure, axes: Axes, points: Sequence[Point]) -> None:
    """Label points on the side that has room, without overlaps."""
    taken: list = []
    middle = (axes.bbox.x0 + axes.bbox.x1) / 2
    for point in reversed(points):  # the best first
        x, _ = axes.transData.transform((point.cost, point.score))
        left = x > middle
        text = axes.annotate(
            canvas.name(point.group.name), (point.cost, point.score), xytext=(-7 if left else 7, 6),
            textcoords="offset points", ha="right" if left else "left", color=theme.ink, size=8, zorder=6,
            bbox={"facecolor": theme.surface, "edgecolor": "none", "alpha": 0.8, "pad": 0.8},
        )  # fmt: skip
        box = text.get_window_extent(canvas.renderer(figure))
        inside = box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= axes.bbox.y1 + 12
        if not inside or any(box.overlaps(other) for other in taken):
            text.remove()
        else:
            taken.append(box)


def write_legend(theme: Theme, figure: Figure, hues: dict[str, str], top: float) -> None:
    """Write the legend of the colours on one line."""
    width, height = figure.get_size_inches()
    left = canvas.MARGIN
    for name, hue in hues.items():
        text = figure.text(left / width, top / height, f"\u25cf {name}", va="top", color=theme.text(hue))
        left = text.get_window_extent(canvas.renderer(figure)).x1 / canvas.DPI + 0.18
        if left > width - canvas.MARGIN:
            text.remove()
            return
