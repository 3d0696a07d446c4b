"""Figures of a comparison: scores with intervals, curves over conditions, learning curves with bands."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cellstate.metrics.display import number
from cellstate.metrics.predictors import OPTIMA, bounds, spoken
from cellstate.metrics.statistics import summarise
from cellstate.metrics.table import metric_of
from cellstate.plotting import canvas
from cellstate.plotting.canvas import End
from cellstate.plotting.curves import curve
from cellstate.plotting.parts import Drawing
from cellstate.plotting.theme import Theme
from cellstate.report.comparison.reading import Comparison, Condition
from cellstate.report.sweep.board import NAMES, draw_references
from cellstate.report.sweep.reading import history_of

HEIGHT = 3.6  # inches
ROW = 0.30  # inches of a variant
LOG_FROM = 20
LONGEST = 60  # characters of a name in a file name


def hue(theme: Theme, place: int) -> str:
    """Return the colour of a variant, the same in all figures."""
    return theme.groups[place] if place < len(theme.groups) else theme.muted


def lines_of(condition: Condition) -> dict[str, float]:
    """Return the scores of the optimum and the best baseline."""
    return bounds(condition.metric, condition.content["reference"])


def axis_name(condition: Condition, split: str) -> str:
    """Return the label of a score axis."""
    return f"{'validation' if split == 'val' else split} {condition.metric.replace('_', ' ')}"


# ---------------------------------------------------------------------- scores


def scores(comparison: Comparison, condition: Condition) -> list[Drawing]:
    """Return the scores of all variants under one condition."""
    if not condition.scored:
        return []
    return [
        Drawing(
            "scores" + (f"_{slug(condition.name)}" if condition.name else ""),
            "Small dots: single seeds; large dots: their mean with its 95 % confidence interval (Student's t). "
            "Dashed: the optimum and the best baseline.",
            lambda theme: draw_scores(theme, comparison, condition),
        )
    ]


def draw_scores(theme: Theme, comparison: Comparison, condition: Condition) -> Figure:
    """Draw a row for each variant."""
    lines, variants = lines_of(condition), condition.scored
    figure, axes = canvas.row_figure(
        theme, ROW * (len(variants) + 1), condition.name or "Scores",
        f"{axis_name(condition, comparison.split)}; {metric_of(condition.metric).in_words}",
        limits=(len(variants) - 0.3, -0.7), above=NAMES if lines else 0.0,
    )  # fmt: skip
    axes.set_yticks(range(len(variants)), [canvas.shortened(figure, variant["name"], 1.6) for _, variant in variants])
    drawn: list[float] = [*lines.values()]
    for row, (place, variant) in enumerate(variants):
        score, values = variant["score"], list(variant["scores"].values())
        drawn += values
        colour = hue(theme, place)
        axes.plot(values, [row] * len(values), "o", color=colour, ms=3, mew=0, alpha=0.6)
        axes.plot(score["mean"], row, "o", color=colour, ms=7, mew=0, zorder=4)
        if score["low"] is not None:
            axes.hlines(row, score["low"], score["high"], color=colour, lw=2.2, alpha=0.55)
        half = "" if score["high"] is None else f" ± {number(score['high'] - score['mean'])}"
        canvas.row_value(axes, row, f"{number(score['mean'])}{half}", theme.text(colour))
    canvas.scale_x(axes, drawn, log_from=LOG_FROM if metric_of(condition.metric).mode == "min" else math.inf)
    draw_references(theme, axes, lines)
    return canvas.fit(figure)


# ---------------------------------------------------------------------- along a condition


def along(comparison: Comparison) -> list[Drawing]:
    """Return the score over each number in which conditions differ, such as the sequence length."""
    found = []
    for (shared, key), points in comparison.series().items():
        found.append(
            Drawing(
                f"along_{slug(f'{shared} {key}')}",
                "Means over seeds with the 95 % interval of the mean. Dashed: the optimum, and in grey the best "
                "baseline: a curve that reaches it has learned nothing beyond the baseline.",
                lambda theme, shared=shared, key=key, points=points: draw_along(theme, comparison, shared, key, points),
            )
        )
    return found


def generalised(comparison: Comparison, condition: Condition) -> list[Drawing]:
    """Return the scores of the networks of a condition on data of other sizes."""
    points, key = condition.generalised, comparison.generalises
    if not any(one.scored for _, one in points) or key is None:
        return []
    trained = condition.content["trained"]
    shared = f"trained with {condition.name or f'{key} {trained:g}'} only"
    return [
        Drawing(
            "generalisation" + (f"_{slug(condition.name)}" if condition.name else ""),
            f"Networks trained with {key} {trained:g} (vertical line), evaluated with other values without further "
            "training. Means over seeds with the 95 % interval of the mean. Dashed: the optimum, and in grey the best "
            "baseline.",
            lambda theme: draw_along(theme, comparison, shared, key, points, split="val", trained=trained),
        )
    ]


def draw_along(
    theme: Theme,
    comparison: Comparison,
    shared: str,
    key: str,
    points: Sequence[tuple[float, Condition]],
    *,
    split: str | None = None,
    trained: float | None = None,
) -> Figure:
    """Plot a curve for each variant, and a vertical line at the value used in training."""
    condition, short = points[0][1], key.rpartition(".")[2].replace("_", " ")
    what = axis_name(condition, split or comparison.split)
    title = f"{what[0].upper()}{what[1:]} by {short}"
    figure = canvas.new_figure(
        theme, HEIGHT, title, f"{shared + '; ' if shared else ''}{metric_of(condition.metric).in_words}"
    )
    axes = canvas.single_axes(figure)
    by_name = {name: score_points(points, name) for name in comparison.names}
    references = {
        name: [(at, lines_of(one)[name]) for at, one in points if name in lines_of(one)] for name in lines_of(condition)
    }
    values = [summary["mean"] for own in by_name.values() for _, summary in own]
    values += [value for own in references.values() for _, value in own]
    canvas.scale_y(axes, values, log_from=LOG_FROM if metric_of(condition.metric).mode == "min" else math.inf)
    ends = []
    for place, (name, own) in enumerate(by_name.items()):
        if not own:
            continue
        colour, xs = hue(theme, place), [at for at, _ in own]
        means = [summary["mean"] for _, summary in own]
        draw_band(axes, xs, [summary for _, summary in own], colour)
        axes.plot(xs, means, color=colour, marker="o", ms=4, lw=1.6, clip_on=False, zorder=4)
        ends.append(End(means[-1], canvas.name(name), theme.text(colour)))
    for name, own in references.items():
        colour = theme.optimum if name in OPTIMA else theme.muted
        axes.plot(*zip(*own, strict=True), color=colour, lw=1.0, dashes=(5, 2.5), zorder=1.5)
        ends.append(End(own[-1][1], spoken(name), theme.text(colour)))
    ats = [at for at, _ in points]
    canvas.scale_x(axes, ats, log_from=4)
    axes.set_xticks(ats, canvas.plain_numbers(ats) if len(ats) < 10 else [f"{at:g}" for at in ats])
    axes.set_xlabel(key)
    if trained is not None:
        axes.axvline(trained, color=theme.muted, lw=0.8, zorder=1.2)
    canvas.label_ends(axes, ends)
    return canvas.fit(figure)


def score_points(points: Sequence[tuple[float, Condition]], name: str) -> list[tuple[float, Mapping[str, Any]]]:
    """Return (number, summary of the scores) of one variant."""
    return [
        (at, variant["score"])
        for at, condition in points
        for variant in condition.variants
        if variant["name"] == name and variant["score"]
    ]


# ---------------------------------------------------------------------- learning


def learned(comparison: Comparison, condition: Condition) -> list[Drawing]:
    """Return the learning curves of all variants under one condition."""
    bands = {
        variant["name"]: (place, band(comparison, variant, condition.metric)) for place, variant in condition.scored
    }
    drawn = {name: own for name, own in bands.items() if own[1][0]}
    if not drawn or all(len(own[1][0]) < 2 for own in drawn.values()):
        return []
    return [
        Drawing(
            "learning_curves" + (f"_{slug(condition.name)}" if condition.name else ""),
            "On the validation split. Lines: means over seeds, as far as all have values; bands: 95 % interval of the "
            "mean.",
            lambda theme: draw_learned(theme, condition, drawn),
        )
    ]


def band(comparison: Comparison, variant: Mapping[str, Any], metric: str) -> tuple[list[int], list[Mapping[str, Any]]]:
    """Return the steps that all runs of a variant share, and the summary of their scores."""
    curves = [
        dict(
            zip(
                *curve(history_of(comparison.folder / variant["folders"][repeat]), f"val/{metric}", "step"), strict=True
            )
        )
        for repeat in variant["scores"]
    ]
    shared = sorted(set.intersection(*(set(one) for one in curves))) if curves else []
    return shared, [summarise([one[at] for one in curves]) for at in shared]


def draw_learned(theme: Theme, condition: Condition, bands: Mapping[str, tuple[int, Any]]) -> Figure:
    """Plot a line and a band for each variant."""
    figure = canvas.new_figure(
        theme,
        HEIGHT,
        condition.name or "Learning curves",
        f"validation {condition.metric.replace('_', ' ')}; {metric_of(condition.metric).in_words}",
    )
    axes = canvas.single_axes(figure)
    values = [summary["mean"] for _, (_, summaries) in bands.values() for summary in summaries]
    optimum = {name: value for name, value in lines_of(condition).items() if name in OPTIMA}
    log_from = LOG_FROM if metric_of(condition.metric).mode == "min" else math.inf
    canvas.scale_y(axes, [*values, *optimum.values()], log_from=log_from)
    ends = []
    for name, (place, (steps, summaries)) in bands.items():
        colour = hue(theme, place)
        means = [summary["mean"] for summary in summaries]
        draw_band(axes, steps, summaries, colour)
        axes.plot(steps, means, color=colour, lw=1.6, clip_on=False)
        ends.append(End(means[-1], canvas.name(name), theme.text(colour)))
    for name, value in optimum.items():
        axes.axhline(value, color=theme.optimum, lw=1.0, dashes=(5, 2.5), zorder=1.5)
        ends.append(End(value, spoken(name), theme.text(theme.optimum)))
    every = [step for _, (steps, _) in bands.values() for step in steps]
    canvas.whole_ticks(axes, min(every), max(every), "step")
    canvas.label_ends(axes, ends)
    return canvas.fit(figure)


def draw_band(axes: Axes, xs: Sequence[float], summaries: Sequence[Mapping[str, Any]], colour: str) -> None:
    """Fill the confidence intervals of the means within the y limits; a mean of one value has none."""
    low, high = axes.get_ylim()
    lows = [max(low, one["mean"] if one["low"] is None else one["low"]) for one in summaries]
    highs = [min(high, one["mean"] if one["high"] is None else one["high"]) for one in summaries]
    axes.fill_between(xs, lows, highs, color=colour, alpha=0.16, lw=0)


def slug(text: str) -> str:
    """Return a text as part of a file name; a long one is truncated and ends with a hash."""
    plain = "_".join("".join(sign if sign.isascii() and sign.isalnum() else " " for sign in text).split())
    return plain if len(plain) <= LONGEST else f"{plain[:LONGEST]}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"
