"""Main effects: the mean score of all configurations that have a parameter value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from cellstate.metrics.display import number
from cellstate.metrics.table import metric_of, rank
from cellstate.plotting import canvas
from cellstate.plotting.parts import Drawing
from cellstate.plotting.theme import Theme
from cellstate.report.sweep.importance import Importance
from cellstate.report.sweep.reading import Sweep

VALUES = 8  # values of a parameter; parameters with more are left out
ROWS = 24  # rows at most; the most important parameters come first
ROW, GAP = 0.24, 0.12  # inches of a row, and between two parameters
LOG_FROM = 20


@dataclass(frozen=True)
class Value:
    """One value of a parameter, and the means of the configurations that have it."""

    name: str
    scores: Sequence[float]

    @property
    def mean(self) -> float:
        """The mean over configurations."""
        return sum(self.scores) / len(self.scores)


def drawing(sweep: Sweep, label: str, important: Sequence[Importance]) -> list[Drawing]:
    """Return the figure; empty if no parameter value occurs more than once."""
    blocks = values_of(sweep, important)
    if not blocks or all(len(value.scores) < 2 for block in blocks for value in block):
        return []
    better = metric_of(sweep.metric).along("left", "right")
    return [
        Drawing(
            "mean_by_value",
            "Small dots: configurations with the value; large dots and numbers: their mean; "
            f"{better}. Coloured: the best value of each parameter. In a full grid the other "
            "parameters are balanced across values; in a search they are not.",
            lambda theme: draw(theme, sweep, blocks, label=label),
        )
    ]


def values_of(sweep: Sweep, important: Sequence[Importance]) -> list[list[Value]]:
    """Return the values of each parameter, the most important parameters first."""
    order = [one.key for one in important if one.key in sweep.keys] or sweep.keys
    blocks: list[list[Value]] = []
    for key in order:
        found: dict[str, list[float]] = {}
        for group in sweep.scored:
            if key in group.values and group.mean is not None:
                found.setdefault(sweep.name_of({key: group.values[key]}), []).append(group.mean)
        rows = sum(map(len, blocks))
        if 1 < len(found) <= VALUES and rows + len(found) <= ROWS:
            blocks.append([Value(name, scores) for name, scores in found.items()])
    return blocks


def draw(theme: Theme, sweep: Sweep, blocks: Sequence[Sequence[Value]], *, label: str) -> Figure:
    """Draw a row for each value, grouped by parameter."""
    inside = sum(map(len, blocks)) * ROW + (len(blocks) - 1) * GAP
    subtitle = f"{label}, {sweep.split} split"
    figure, axes = canvas.row_figure(theme, inside, "Mean by value", subtitle, limits=(inside, 0))
    place, ticks = ROW / 2, []
    for block in blocks:
        best = min(block, key=lambda value: rank(sweep.metric, value.mean))
        for value in block:
            hue = theme.run if value is best else theme.muted
            axes.axhline(place, color=theme.rule, lw=0.8, zorder=0.5)
            axes.plot(value.scores, [place] * len(value.scores), "o", color=hue, ms=3, mew=0, alpha=0.5)
            axes.plot(value.mean, place, "o", color=hue, ms=7, mew=0, zorder=4)
            canvas.row_value(axes, place, number(value.mean), theme.text(hue))
            ticks.append((place, canvas.shortened(figure, canvas.name(value.name), 1.9)))
            place += ROW
        place += GAP
    axes.set_yticks([at for at, _ in ticks], [name for _, name in ticks])
    scores = [score for block in blocks for value in block for score in value.scores]
    canvas.scale_x(axes, scores, log_from=LOG_FROM)
    axes.set_xlabel(label)
    return canvas.fit(figure)
