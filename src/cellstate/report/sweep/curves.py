"""Learning curves by configuration: each repetition and their mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from cellstate.metrics.table import Metric, metric_of
from cellstate.plotting import canvas
from cellstate.plotting.canvas import End
from cellstate.plotting.curves import Clock, Curve, clock_of, curve
from cellstate.plotting.parts import Drawing
from cellstate.plotting.theme import Theme
from cellstate.report.sweep.reading import Group, Sweep, history_of

HEIGHT = 4.2  # inches
COLOURED = 6  # configurations with a colour and a label; the others are grey
MOST = 200  # curves
LONGEST = 80  # characters of a name


@dataclass(frozen=True)
class Curves:
    """The curves of one configuration, and their mean at the times that all share."""

    name: str
    each: Sequence[Curve]
    mean: Curve


def drawings(sweep: Sweep, label: str) -> list[Drawing]:
    """Return the curves of the ranking metric and of the validation loss."""
    histories = {row["folder"]: history_of(sweep.folder / row["folder"]) for row in sweep.done[:MOST]}
    clocks = {
        clock_of(history, epochs=row["epochs"] or 0, steps=row["steps"] or 0)
        for row in sweep.done[:MOST]
        if (history := histories[row["folder"]])
    }
    clock: Clock = "epoch" if clocks == {"epoch"} else "step"
    found = []
    for metric, title in dict.fromkeys(((sweep.metric, label), ("loss", "training objective"))):
        groups = [
            made
            for group in sweep.scored
            if (made := curves_of(group, [histories.get(row["folder"], []) for row in group.done], metric, clock))
        ]
        if groups and (metric != "loss" or sweep.metric != "loss" or title == label):
            found.append(drawing(groups, metric, title, clock, sweep))
    return found


def drawing(groups: Sequence[Curves], metric: str, title: str, clock: Clock, sweep: Sweep) -> Drawing:
    """Return one figure."""
    several = any(len(group.each) > 1 for group in groups)
    repeated = " and ".join(sweep.short(key) for key in sweep.repeats) or "repetition"
    bold = f" Bold: mean over each {repeated}, as far as all have values; thin: single jobs." if several else ""
    rest = f" The best {COLOURED} of {len(groups)} are coloured." if len(groups) > COLOURED else ""
    return Drawing(
        f"learning_curves_{metric}",
        f"On the validation split, after each {clock if clock == 'epoch' else 'validation'}.{bold}{rest}",
        lambda theme: draw(theme, groups, title=title, metric=metric_of(metric), clock=clock),
        wide=True,
    )


def curves_of(
    group: Group, histories: Sequence[Sequence[dict[str, float]]], metric: str, clock: Clock
) -> Curves | None:
    """Return the curves of a configuration; None if no job has one."""
    each = [found for history in histories if (found := curve(history, f"val/{metric}", clock))[0]]
    if not each:
        return None
    shared = set(each[0][0]).intersection(*(times for times, _ in each))
    times = sorted(shared) or list(each[0][0])
    by_time = [dict(zip(*one, strict=True)) for one in (each if shared else each[:1])]
    means = [sum(values[time] for values in by_time) / len(by_time) for time in times]
    return Curves(group.name, each, (times, means))


def draw(theme: Theme, groups: Sequence[Curves], *, title: str, metric: Metric, clock: Clock) -> Figure:
    """Plot the curves, those of the best configurations in colour on top of the others."""
    subtitle = f"validation split; {metric.in_words}"
    figure = canvas.new_figure(theme, HEIGHT, f"Learning curves: {title}", subtitle, width=canvas.FULL_WIDTH)
    axes = canvas.single_axes(figure)
    values = [value for group in groups for _, part in group.each for value in part if math.isfinite(value)]
    canvas.scale_y(axes, values, log_from=20 if metric.mode == "min" else math.inf)
    ends = []
    for place, group in reversed(list(enumerate(groups))):
        named = place < COLOURED
        hue = theme.groups[place] if named else theme.muted
        for times, part in group.each:
            if len(group.each) > 1 or not named:
                axes.plot(times, part, color=hue, lw=0.7, alpha=0.45 if named else 0.25, clip_on=False)
        if named:
            few = "o" if len(group.mean[0]) <= 12 else ""
            axes.plot(*group.mean, color=hue, lw=1.8, marker=few, ms=3.5, zorder=4, clip_on=False)
            ends.append(
                End(
                    group.mean[1][-1],
                    canvas.shortened(figure, f"{place + 1}  {canvas.name(group.name, LONGEST)}", 3.2),
                    theme.text(hue),
                )
            )
    times = [time for group in groups for part, _ in group.each for time in part]
    canvas.whole_ticks(axes, min(times), max(times), clock)
    canvas.label_ends(axes, [end for end in ends if math.isfinite(end.y)])
    return canvas.fit(figure)
