"""Figures of a benchmark: scores relative to the best reference, and mean ranks."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from cellstate.metrics.table import metric_of
from cellstate.plotting import canvas
from cellstate.plotting.parts import Drawing
from cellstate.plotting.theme import Theme
from cellstate.report.benchmark.reading import Benchmark, DataSet, Group, best_of
from cellstate.report.comparison.figures import hue, slug

ROW = 0.28  # inches of a row
NAMES = 0.26  # inches for the names of the methods above the axes
LONGEST = 1.9  # inches of the name of a row
LOG_FROM = 5  # ratio of the largest to the smallest value from which the scale is logarithmic


def drawings(benchmark: Benchmark) -> list[Drawing]:
    """Return the figures of all groups."""
    found = []
    for group in benchmark.groups:
        own = f"_{slug(group.name)}" if group.name else ""
        points = {dataset.name: relative(dataset, group.methods) for dataset in group.datasets}
        points = {name: values for name, values in points.items() if values}
        if points:
            found.append(
                Drawing(
                    f"relative{own}",
                    "How many times better than the best reference, at 1: its score over theirs for a metric where "
                    "lower is better, theirs over its score for one where higher is. Bars: 95 % interval over seeds. "
                    "Hollow: the best published figure.",
                    lambda theme, group=group, points=points: draw_relative(theme, group, points),
                )
            )
        if len(group.ranks) > 1:
            found.append(
                Drawing(
                    f"ranks{own}",
                    "Large dots: mean ranks over the data sets, 1 is best; small dots: the rank on each. Ties share "
                    "the mean of their ranks.",
                    lambda theme, group=group: draw_ranks(theme, group),
                )
            )
    return found


def relative(dataset: DataSet, methods: list[str]) -> dict[str, tuple[float, float, float]]:
    """Return predictor -> (mean, low, high) relative to the best reference; the best published figure is named "".

    Above 1 is better. Empty if there is no reference, or its score is not positive, as ratios say nothing then.
    """
    best = best_of(dataset, "reference")
    if best is None or best["score"]["mean"] <= 0:
        return {}
    base, higher = best["score"]["mean"], metric_of(dataset.metric).higher_is_better

    def ratio(score: float) -> float:
        return score / base if higher else base / score

    found = {}
    for name, row in [(name, dataset.method(name)) for name in methods] + [("", best_of(dataset, "published"))]:
        if row is not None and (score := row["score"]) is not None and score["mean"] > 0:
            ends = [end if end is not None and end > 0 else score["mean"] for end in (score["low"], score["high"])]
            low, high = sorted(map(ratio, ends))
            found[name] = (ratio(score["mean"]), low, high)
    return found


def draw_relative(theme: Theme, group: Group, points: Mapping[str, Mapping[str, tuple[float, float, float]]]) -> Figure:
    """Draw a row for each data set."""
    names = list(points)
    figure, axes = canvas.row_figure(
        theme, ROW * len(names), "Relative to the best reference", "the further right, the better",
        limits=(len(names) - 0.4, -0.6), above=NAMES,
    )  # fmt: skip
    axes.set_yticks(range(len(names)), [canvas.shortened(figure, canvas.name(name), LONGEST) for name in names])
    for place, name in enumerate(names):
        axes.axhline(place, color=theme.rule, lw=0.8, zorder=0.5)
        for predictor, (mean, low, high) in points[name].items():
            if predictor:
                colour = hue(theme, group.methods.index(predictor))
                axes.hlines(place, low, high, color=colour, lw=2.2, alpha=0.55)
                axes.plot(mean, place, "o", color=colour, ms=7, mew=0, zorder=4, clip_on=False)
            else:
                axes.plot(mean, place, "D", color="none", mec=theme.ink, ms=5, mew=1.1, zorder=5, clip_on=False)
    axes.axvline(1.0, color=theme.muted, lw=1.0, dashes=(5, 2.5), zorder=1.5)
    canvas.scale_x(axes, [1.0, *(mean for own in points.values() for mean, _, _ in own.values())], log_from=LOG_FROM)
    drawn = [name for name in group.methods if any(name in own for own in points.values())]
    for name in drawn:
        axes.plot([], [], "o", color=hue(theme, group.methods.index(name)), ms=6, mew=0, label=canvas.name(name))
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=max(1, len(drawn)), frameon=False, handletextpad=0.2,
        borderaxespad=0.1, columnspacing=1.2,
    )  # fmt: skip
    return canvas.fit(figure)


def draw_ranks(theme: Theme, group: Group) -> Figure:
    """Draw a row for each ranked predictor, the best at the top."""
    rows = group.ranks
    figure, axes = canvas.row_figure(
        theme, ROW * len(rows), "Mean ranks", f"over {len(group.ranked_on)} data sets; the further left, the better",
        limits=(len(rows) - 0.4, -0.6),
    )  # fmt: skip
    axes.set_yticks(range(len(rows)), [canvas.shortened(figure, canvas.name(row["name"]), LONGEST) for row in rows])
    for place, row in enumerate(rows):
        own = row["kind"] == "method"
        colour = hue(theme, group.methods.index(row["name"])) if own else theme.muted
        ranks = list(row["ranks"].values())
        axes.axhline(place, color=theme.rule, lw=0.8, zorder=0.5)
        axes.plot(ranks, [place] * len(ranks), "o", color=colour, ms=3, mew=0, alpha=0.6)
        axes.plot(row["rank"], place, "o", color=colour, ms=7, mew=0, zorder=4, clip_on=False)
        weight = "bold" if own else "normal"
        canvas.row_value(axes, place, f"{row['rank']:.2f}", theme.text(colour), weight=weight)
        axes.get_yticklabels()[place].set(color=theme.ink if own else theme.muted, weight=weight)
    canvas.scale_x(axes, [1.0, float(len(rows))])
    axes.set_xlabel("rank")
    return canvas.fit(figure)
