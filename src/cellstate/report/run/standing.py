"""The score of a run compared with optimum and baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping

from matplotlib.figure import Figure

from cellstate.metrics.display import number
from cellstate.metrics.predictors import OPTIMA, spoken
from cellstate.metrics.table import metric_of, rank
from cellstate.model.material import Material
from cellstate.plotting import canvas
from cellstate.plotting.parts import Drawing
from cellstate.plotting.theme import Theme

ROW, TICKS = 0.27, 0.24  # inches of a row, and of the tick labels below the rows
LOG_FROM = 20  # ratio of largest to smallest value from which the scale is logarithmic


def drawings(material: Material, metric: str, label: str) -> list[Drawing]:
    """Return the figure; empty if there is nothing to compare with."""
    split = material.split
    values = {f"this run, {split}": material.metrics[split].get(metric), **material.reference(metric)}
    known = {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
    if len(known) < 2 or f"this run, {split}" not in known:
        return []
    better = metric_of(metric).along("left", "right")
    return [
        Drawing(
            "standing",
            f"{better[0].upper()}{better[1:]}; same values as in the table.",
            lambda theme: draw(theme, known, metric=metric, label=label, run=f"this run, {split}"),
        )
    ]


def draw(theme: Theme, values: Mapping[str, float], *, metric: str, label: str, run: str) -> Figure:
    """Draw a row for each predictor, the best at the top, with a dot at its score."""
    order = sorted(values, key=lambda name: (rank(metric, values[name]), name not in OPTIMA))
    limits = (len(order) - 0.4, -0.6)
    figure, axes = canvas.row_figure(
        theme, ROW * len(order), "Comparison with references", label, limits=limits, below=TICKS
    )
    axes.set_yticks(range(len(order)), [spoken(name) for name in order])
    for place, name in enumerate(order):
        hue = theme.run if name == run else theme.optimum if name in OPTIMA else theme.muted
        axes.axhline(place, color=theme.rule, lw=0.8, zorder=0.5)
        axes.plot(values[name], place, "o", color=hue, ms=8 if name == run else 6, mew=0, clip_on=False, zorder=4)
        weight = "bold" if name == run else "normal"
        canvas.row_value(axes, place, number(values[name]), theme.text(hue), weight=weight)
    canvas.scale_x(axes, values.values(), log_from=LOG_FROM)
    for tick, name in zip(axes.get_yticklabels(), order, strict=True):
        bold = name == run
        tick.set(color=theme.ink if bold else theme.muted, weight="bold" if bold else "normal")
    return canvas.fit(figure)
