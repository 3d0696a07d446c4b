"""Learning curves: training and validation loss, and validation metrics against optimum and baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cellstate.metrics.display import number
from cellstate.metrics.headline import Headline
from cellstate.metrics.predictors import OPTIMA, spoken
from cellstate.metrics.table import metric_of, rank
from cellstate.model.material import Material
from cellstate.plotting import canvas
from cellstate.plotting.canvas import End
from cellstate.plotting.curves import Clock, Curve, clock_of, colour_of, curve, draw_curve, time_of
from cellstate.plotting.parts import Drawing
from cellstate.plotting.theme import Theme

HEIGHT = 3.5  # inches


def drawings(material: Material, headline: Headline) -> list[Drawing]:
    """Return the loss curves and the curves of the headline metrics with their references."""
    clock = clock_of(material.history, epochs=material.metrics["epochs"], steps=material.metrics["steps"])
    unit = headline.loss_unit
    losses = {split: curve(material.history, f"{split}/loss", clock) for split in ("train", "val")}
    values = [value for _, part in losses.values() for value in part]
    lines = within_reach(material.reference("loss"), values, "loss")
    lines = {name: value for name, value in lines.items() if value > 0}  # 0 has no logarithm
    found: list[Drawing] = []
    if any(times for times, _ in losses.values()):
        best = material.metrics["best"]
        found.append(
            Drawing(
                "learning_curves",
                "Training loss: mean since the previous validation, with dropout, while the weights change. Validation "
                "loss: of the weights at that point. The circle marks the checkpoint that was kept. "
                + explanation(lines, material.split),
                lambda theme: loss_curves(theme, losses, best=best, unit=unit, reference=lines, clock=clock),
            )
        )
    shown = [(headline.metric, headline.label), *headline.further]
    return found + [one for name, label in shown if name != "loss" for one in metric_drawings(material, name, label)]


def metric_drawings(material: Material, metric: str, label: str) -> list[Drawing]:
    """Return the validation curve of ``metric`` with its references; empty if it was not measured."""
    clock = clock_of(material.history, epochs=material.metrics["epochs"], steps=material.metrics["steps"])
    validation = curve(material.history, f"val/{metric}", clock)
    if not validation[0]:
        return []
    reference, split = within_reach(material.reference(metric), validation[1], metric), material.split
    result, best = material.metrics[split].get(metric), material.metrics["best"]
    return [
        Drawing(
            f"validation_{metric}",
            f"The circle marks the checkpoint that was kept. {explanation(reference, split)}".rstrip(),
            lambda theme: metric_curve(
                theme, validation, metric=metric, label=label, reference=reference, result=result, split=split,
                clock=clock, best=best,
            ),
        )
    ]  # fmt: skip


def explanation(reference: Mapping[str, float], split: str) -> str:
    """Return the explanation of the dashed lines; empty if there are none."""
    if not reference:
        return ""
    best = "the best possible predictor and " if any(name in OPTIMA for name in reference) else ""
    best = f"Dashed: {best}the baselines within the range of the curve, or the best one."
    where = "" if split == "val" else f" They are scored on the {split} split, the curve on the validation split."
    return f"{best}{where}"


def within_reach(reference: Mapping[str, float], values: Sequence[float], metric: str) -> dict[str, float]:
    """Return optima, the best baseline and those within the curve's range; others would flatten the curve."""
    finite = [value for value in values if math.isfinite(value)] or [math.nan]
    baselines = [name for name in reference if name not in OPTIMA and math.isfinite(reference[name])]
    best = min(baselines, key=lambda name: rank(metric, reference[name]), default=None)
    return {
        name: value
        for name, value in reference.items()
        if name in OPTIMA or name == best or min(finite) <= value <= max(finite)
    }


def loss_curves(
    theme: Theme,
    losses: Mapping[str, Curve],
    *,
    best: Mapping[str, Any],
    unit: str,
    reference: Mapping[str, float] | None = None,
    clock: Clock = "epoch",
) -> Figure:
    """Plot training and validation loss, the best validation circled, with a line for each reference."""
    at = best_time(best, clock)
    kept = "" if at is None else f"  ·  best after {clock} {at:,}: {number(best['value'])}"
    figure = canvas.new_figure(theme, HEIGHT, "Loss", f"{unit}{kept}")
    axes = canvas.single_axes(figure)
    shown = [("train", "training", theme.train), ("val", "validation", theme.run)]
    drawn = [value for _, values in losses.values() for value in values]
    canvas.scale_y(axes, [*drawn, *(reference or {}).values()], log_from=20)
    lines = [(value, spoken(name), colour_of(theme, name)) for name, value in (reference or {}).items()]
    ends = reference_lines(theme, axes, lines)
    for split, label, colour in shown:
        times, values = losses[split]
        if times:
            draw_curve(axes, (times, values), colour)
            ends.append(End(values[-1], label, theme.text(colour)))
    ring(theme, axes, losses["val"], at)
    times = [time for found, _ in losses.values() for time in found]
    canvas.whole_ticks(axes, min(times), max(times), clock)
    canvas.label_ends(axes, ends)
    return canvas.fit(figure)


def metric_curve(
    theme: Theme,
    validation: Curve,
    *,
    metric: str,
    label: str,
    reference: Mapping[str, float],
    result: float | None,
    split: str,
    clock: Clock = "epoch",
    best: Mapping[str, Any] | None = None,
) -> Figure:
    """Plot a validation metric, with a line for the result, the optimum and each baseline."""
    title = label[0].upper() + label[1:]
    entry = metric_of(metric)
    lines_of = "" if split == "val" or not reference else f"; dashed lines: {split} split"
    figure = canvas.new_figure(theme, HEIGHT, title, f"{entry.in_words}{lines_of}")
    axes = canvas.single_axes(figure)
    times, values = validation
    lines = [(value, spoken(predictor), colour_of(theme, predictor)) for predictor, value in reference.items()]
    if result is not None and split != "val":
        lines.append((result, f"this run, {split}", theme.run))
    log_from = 4 if entry.mode == "min" else float("inf")
    canvas.scale_y(axes, [*values, *(value for value, _, _ in lines)], log_from=log_from)
    ends = reference_lines(theme, axes, lines)
    draw_curve(axes, validation, theme.run)
    ring(theme, axes, validation, best_time(best, clock))
    canvas.whole_ticks(axes, times[0], times[-1], clock)
    canvas.label_ends(axes, [*ends, End(values[-1], "validation", theme.text(theme.run))])
    return canvas.fit(figure)


def reference_lines(theme: Theme, axes: Axes, lines: Sequence[tuple[float, str, str]]) -> list[End]:
    """Draw a dashed line for each value, name and colour, and return their end labels."""
    for value, _, colour in lines:
        axes.axhline(value, color=colour, lw=0.9, dashes=(5, 2.5), zorder=1.5)
    return [End(value, f"{name} {number(value)}", theme.text(colour)) for value, name, colour in lines]


def best_time(best: Mapping[str, Any] | None, clock: Clock) -> int | None:
    """Return the epoch or step of the checkpoint that was kept; None if unknown."""
    return None if best is None or best["step"] is None else time_of(best, clock)


def ring(theme: Theme, axes: Axes, points: Curve, at: int | None) -> None:
    """Circle the point of a curve at a time, if there is one."""
    times, values = points
    if at in times:
        style = {"ms": 8, "mfc": theme.surface, "mec": theme.run, "mew": 1.8, "zorder": 5, "clip_on": False}
        axes.plot(at, values[times.index(at)], "o", **style)
