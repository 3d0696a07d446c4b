"""The leaderboard: all configurations with their scores, optimum and baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from cellstate.metrics.display import number
from cellstate.metrics.predictors import OPTIMA, bounds, spoken
from cellstate.metrics.table import metric_of, rank
from cellstate.plotting import canvas
from cellstate.plotting.parts import Drawing
from cellstate.plotting.theme import Theme
from cellstate.report.document import page_link
from cellstate.report.sweep.reading import Group, Sweep

DRAWN, LISTED = 30, 30  # configurations in the figure and in the first part of the table
COLUMNS = 4  # metrics in the table
ROW = 0.26  # inches
NAMES = 0.22  # inches for the names of reference lines above the axes
LONGEST = 80  # characters of a name
LOG_FROM = 20


@dataclass(frozen=True)
class Line:
    """One line of the leaderboard: a configuration, or (by ``kind``) an optimum or a baseline.

    cells: mean and half-width of the 95 % interval of each metric, as text.
    """

    name: str
    kind: str
    cells: Sequence[tuple[str, str]]
    place: str = ""
    repeats: str = ""
    missing: str = ""
    parameters: str = ""
    seconds: str = ""
    link: str = ""


def columns(sweep: Sweep) -> list[str]:
    """Return the metrics that the leaderboard shows."""
    return sweep.metrics[:COLUMNS]


def lines(sweep: Sweep) -> list[Line]:
    """Return the leaderboard by rank, with optimum and baselines."""
    ranked = [
        (rank(sweep.metric, group.mean), 1, group_line(sweep, group, place))
        for place, group in enumerate(sweep.groups, start=1)
    ]
    blank = [("", "")] * (len(columns(sweep)) - 1)
    for name, value in sweep.reference.items():
        kind = "optimum" if name in OPTIMA else "baseline"
        cells = [(number(value), ""), *blank]
        ranked.append((rank(sweep.metric, value), 0 if kind == "optimum" else 2, Line(spoken(name), kind, cells)))
    return [line for *_, line in sorted(ranked, key=lambda entry: entry[:2])]


def group_line(sweep: Sweep, group: Group, place: int) -> Line:
    """Return the line of one configuration."""
    parameters, seconds = group.average("parameters"), group.average("seconds")
    best_first = sorted(group.done, key=lambda row: rank(sweep.metric, sweep.score(row)))
    there = [row["repeat"] for row in group.rows]
    absent = sum(repeat not in there for repeat in group.missing)  # missing repetitions without a job
    links = (page_link(sweep.folder, row["folder"]) for row in best_first)
    return Line(
        place=str(place) if group.mean is not None else "",
        name=group.name,
        kind="best" if place == 1 and group.mean is not None else "group",
        repeats=f"{len(group.done)} of {len(group.rows) + absent}",
        missing=", ".join(sweep.name_of(one) for one in group.missing),
        cells=[interval_of(group, metric) for metric in columns(sweep)],
        parameters="" if parameters is None else f"{parameters:,.0f}",
        seconds="" if seconds is None else f"{seconds:,.1f}",
        link=next(filter(None, links), ""),
    )


def interval_of(group: Group, metric: str) -> tuple[str, str]:
    """Return the mean of a metric and the half-width of its 95 % interval, as text."""
    mean, low, high = (group.of(metric, part) for part in ("mean", "low", "high"))
    if mean is None:
        return "", ""
    return number(mean), "" if low is None or high is None else f"± {number((high - low) / 2)}"


def drawing(sweep: Sweep, label: str) -> list[Drawing]:
    """Return the leaderboard as a figure, empty if no job has a score."""
    if not sweep.scored:
        return []
    lines = bounds(sweep.metric, sweep.reference)
    better = metric_of(sweep.metric).along("left", "right")
    several = any(group.interval for group in sweep.scored)
    dots = " Small dots: single jobs; bars: 95 % confidence interval of the mean (Student's t)." if several else ""
    left_out = f" Top {DRAWN} of {len(sweep.scored)}." if len(sweep.scored) > DRAWN else ""
    dashed = " Dashed: the optimum and the best baseline." if lines else ""
    return [
        Drawing(
            "leaderboard",
            f"{better[0].upper()}{better[1:]}.{dots}{left_out}{dashed}",
            lambda theme: draw(theme, sweep, sweep.scored[:DRAWN], lines, label=label),
            wide=True,
        )
    ]


def draw(theme: Theme, sweep: Sweep, groups: Sequence[Group], lines: Mapping[str, float], *, label: str) -> Figure:
    """Draw a row for each configuration, the best at the top: its jobs, their mean and interval."""
    figure, axes = canvas.row_figure(
        theme, ROW * len(groups), "Leaderboard", f"{label}, {sweep.split} split", limits=(len(groups) - 0.4, -0.6),
        above=NAMES if lines else 0.0, width=canvas.FULL_WIDTH,
    )  # fmt: skip
    names = [f"{place}  {canvas.name(group.name, LONGEST)}" for place, group in enumerate(groups, start=1)]
    axes.set_yticks(range(len(groups)), [canvas.shortened(figure, name, 3.6) for name in names])
    scores = [[value for row in group.done if (value := sweep.score(row)) is not None] for group in groups]
    for place, (group, values) in enumerate(zip(groups, scores, strict=True)):
        hue = theme.run if place == 0 else theme.muted
        axes.axhline(place, color=theme.rule, lw=0.8, zorder=0.5)
        if group.interval:
            axes.hlines(place, *group.interval, color=hue, lw=2.2, alpha=0.55)
            axes.plot(values, [place] * len(values), "o", color=hue, ms=3, mew=0, alpha=0.6)
        axes.plot(group.mean or 0.0, place, "o", color=hue, ms=7, mew=0, zorder=4, clip_on=False)
        text = " ".join(interval_of(group, sweep.metric)).strip()
        canvas.row_value(axes, place, text, theme.text(hue), weight="normal" if place else "bold")
    for tick in axes.get_yticklabels()[:1]:
        tick.set(color=theme.ink, weight="bold")
    ends = [end for group in groups for end in group.interval or ()]
    seen = visible(ends, scores, sweep.metric)
    canvas.scale_x(axes, [*(one for values in scores for one in values), *lines.values(), *seen])
    axes.set_xlabel(label)
    draw_references(theme, axes, lines)
    return canvas.fit(figure)


def visible(ends: Sequence[float], scores: Sequence[Sequence[float]], metric: str) -> list[float]:
    """Return interval ends clipped to the axis range: intervals of few jobs may extend far beyond all scores.

    Impossible scores are cut off too: above 1 for a fraction, below 0 if all scores are positive.
    """
    flat = [value for values in scores for value in values]
    low, high = min(flat), max(flat)
    reach = 0.35 * ((high - low) or abs(high) * 0.05)
    least = max(low - reach, min(low, 0.0))
    most = min(high + reach, max(high, 1.0)) if metric_of(metric).higher_is_better else high + reach
    return [min(max(end, least), most) for end in ends]


def draw_references(theme: Theme, axes, lines: Mapping[str, float]) -> None:  # noqa: ANN001
    """Draw optimum and baseline as labelled dashed lines across the rows."""
    low, high = axes.get_xlim()
    for name, value in lines.items():
        hue = theme.optimum if name in OPTIMA else theme.muted
        axes.axvline(value, color=hue, lw=1.0, dashes=(5, 2.5), zorder=1.5)
        middle = value < (low + high) / 2
        axes.annotate(
            f"{spoken(name)} {number(value)}", (value, 1), xycoords=("data", "axes fraction"),
            xytext=(2 if middle else -2, 3), textcoords="offset points", ha="left" if middle else "right", va="bottom",
            color=theme.text(hue), annotation_clip=False,
        )  # fmt: skip
